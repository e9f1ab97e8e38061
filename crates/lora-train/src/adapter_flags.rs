//! The flags of an adapter as PEFT's configuration.
use lora_cli::{LoraArgs, Result};
use lora_core::{Bias, Init, LoraConfig, ModuleNames, Pattern};
use std::str::FromStr as _;

/// Puts the flags into a config.
///
/// # Errors
/// Names the flag that can't be read.
pub(crate) fn apply(flags: &LoraArgs, config: &mut LoraConfig) -> Result<()> {
    let excluded = flags.excluded();
    config.exclude_modules = excluded.as_deref().map(ModuleNames::from_str).transpose()?;
    config.layers_to_transform = flags.layer_numbers()?;
    config.layers_pattern = flags.layer_names();
    config.rank_pattern = Pattern(flags.ranks()?);
    config.alpha_pattern = Pattern(flags.alphas()?);
    config.modules_to_save = flags.saved();
    let bias = flags.bias.as_deref().and_then(Bias::named);
    config.bias = bias.unwrap_or_default();
    config.lora_bias = flags.lora_bias;
    config.use_dora = flags.dora;
    if let Some(word) = &flags.init {
        config.init = Init::named(word).ok_or_else(|| LoraArgs::unknown_init(word))?;
    }
    Ok(())
}
