//! PEFT's folder read.
use super::fill::Fill;
use crate::tensor_file::TensorFile;
use crate::tensor_names::TensorNames;
use crate::{Adapter, BaseModel, CONFIG_FILE, Error, LoraConfig, WEIGHTS_FILE, parameters};
use std::path::Path;

/// Loads a folder that holds both files; see [`Adapter::load`].
pub(crate) fn load(dir: &Path, base: &impl BaseModel) -> Result<(Adapter, Vec<String>), Error> {
    let config_path = dir.join(CONFIG_FILE);
    let config = LoraConfig::load(&config_path)?;
    let modules = base.modules();
    let in_config = |error| match error {
        Error::Config { message, hint } => Error::Invalid {
            path: config_path.clone(),
            message,
            hint,
        },
        other => other,
    };
    let mut warnings = config.warnings();
    let (layout, unmatched) = config.layout_leniently(&modules).map_err(in_config)?;
    warnings.extend(
        unmatched
            .iter()
            .map(|name| format!("target module `{name}` is not in this model")),
    );
    warnings.extend(
        parameters::unmatched(&config, &modules)
            .iter()
            .map(|name| format!("target parameter `{name}` is not in this model")),
    );
    warnings.extend(config.notes(&modules).map_err(in_config)?);
    let mut warnings: Vec<_> = warnings
        .into_iter()
        .map(|w| format!("{}: {w}", config_path.display()))
        .collect();
    let file = TensorFile::read(&dir.join(WEIGHTS_FILE))?;
    let tensors = file.tensors()?;
    let tensors = TensorNames::of(&tensors).map_err(|message| file.invalid(message))?;
    let notes = tensors.notes();
    warnings.extend(notes.map(|note| format!("{}: {note}", file.path.display())));
    let params = Fill {
        path: &file.path,
        tensors,
        modules: &modules,
        layout: &layout,
        config: &config,
        base,
    }
    .params(&mut warnings)?;
    let mut adapter = Adapter::from_layout(config, layout, params)?;
    if adapter.config.init.changes_base() {
        let loaded = adapter.params.clone();
        adapter.decompose(base)?; // PEFT takes the same out of the base when it loads such an adapter
        adapter.params = loaded;
    }
    Ok((adapter, warnings))
}
