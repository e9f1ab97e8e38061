//! Flags of the adapter beyond rank, alpha and targets: PEFT's LoraConfig, one field each.
use lora_cli::values::MOST_RANK;
use lora_cli::{Error, Result};
use lora_core::{Bias, Init, LoraConfig, ModuleNames, Pattern};
use std::str::FromStr;

/// What else an adapter can be.
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Adapter")]
pub struct LoraArgs {
    /// Modules that carry no adapter though targeted: names or a regular expression, as for --targets.
    #[arg(long, value_name = "NAMES", conflicts_with = "adapter")]
    pub exclude: Vec<String>,
    /// Layers that carry adapters: numbers and ranges (8-15,20); needs --targets by name [default: all].
    #[arg(long, value_name = "LAYERS", conflicts_with = "adapter")]
    pub layers: Option<String>,
    /// Name before the layer's number, where a model has several kinds of layers [default: any].
    #[arg(
        long,
        value_name = "NAME",
        requires = "layers",
        conflicts_with = "adapter"
    )]
    pub layers_pattern: Vec<String>,
    /// Rank of single modules, NAME=RANK; may be repeated, the first match wins (NAME is a regular expression on the end of
    /// the module's path).
    #[arg(long, value_name = "NAME=RANK", conflicts_with = "adapter")]
    pub rank_pattern: Vec<String>,
    /// α of single modules, NAME=ALPHA; may be repeated.
    #[arg(long, value_name = "NAME=ALPHA", conflicts_with = "adapter")]
    pub alpha_pattern: Vec<String>,
    /// Modules that train as a whole and are saved with the adapter: lm_head, embed_tokens, norm, any linear layer.
    #[arg(long, value_name = "NAMES", conflicts_with = "adapter")]
    pub modules_to_save: Vec<String>,
    /// Biases of the base that train: none, all, or those of targeted modules (lora_only).
    #[arg(long, value_parser = ["none", "all", "lora_only"], conflicts_with = "adapter")]
    pub bias: Option<String>,
    /// A trained bias on every B.
    #[arg(long, conflicts_with = "adapter")]
    pub lora_bias: bool,
    /// DoRA: a trained magnitude for every output (arXiv 2402.09353).
    #[arg(long, conflicts_with = "adapter")]
    pub dora: bool,
    /// How A and B begin: kaiming, gaussian, false (both random), pissa, pissa_niter_N or olora (both from the base's weights;
    /// saved as a plain adapter of twice the rank) [default: kaiming].
    #[arg(long, value_name = "NAME", conflicts_with = "adapter")]
    pub init: Option<String>,
    /// LoRA+: B and vectors learn at this many times --lr (arXiv 2402.12354), factors of embeddings at 1e-6, as in PEFT.
    #[arg(long, value_name = "X", value_parser = lora_cli::values::positive)]
    pub lora_plus_ratio: Option<f64>,
}

impl LoraArgs {
    /// Puts the flags into a config.
    ///
    /// # Errors
    /// Names the flag that can't be read.
    pub(crate) fn apply(&self, config: &mut LoraConfig) -> Result<()> {
        if !self.exclude.is_empty() {
            config.exclude_modules = Some(ModuleNames::from_str(&self.exclude.join(","))?);
        }
        config.layers_to_transform = self.layers.as_deref().map_or(Ok(Vec::new()), layers)?;
        config.layers_pattern = words(&self.layers_pattern);
        config.rank_pattern = pattern(
            "--rank-pattern",
            "a whole number from 1 to 65536",
            &self.rank_pattern,
        )?;
        if let Some((name, _)) = config.rank_pattern.0.iter().find(|(_, r)| *r > MOST_RANK) {
            return Err(Error::new(format!(
                "--rank-pattern {name}: expected a rank from 1 to {MOST_RANK}"
            )));
        }
        config.alpha_pattern = pattern("--alpha-pattern", "a number", &self.alpha_pattern)?;
        config.modules_to_save = words(&self.modules_to_save);
        config.bias = self
            .bias
            .as_deref()
            .and_then(Bias::named)
            .unwrap_or_default();
        config.lora_bias = self.lora_bias;
        config.use_dora = self.dora;
        if let Some(word) = &self.init {
            config.init = Init::named(word).ok_or_else(|| {
                Error::new(format!("--init {word} is not known"))
                    .hint("kaiming, gaussian, false, pissa, pissa_niter_N and olora are")
            })?;
        }
        Ok(())
    }

    /// The flags that were given, for methods that have no adapter.
    pub(crate) fn given(&self) -> [(&'static str, bool); 11] {
        [
            ("--exclude", !self.exclude.is_empty()),
            ("--layers", self.layers.is_some()),
            ("--layers-pattern", !self.layers_pattern.is_empty()),
            ("--rank-pattern", !self.rank_pattern.is_empty()),
            ("--alpha-pattern", !self.alpha_pattern.is_empty()),
            ("--modules-to-save", !self.modules_to_save.is_empty()),
            ("--bias", self.bias.is_some()),
            ("--lora-bias", self.lora_bias),
            ("--dora", self.dora),
            ("--init", self.init.is_some()),
            ("--lora-plus-ratio", self.lora_plus_ratio.is_some()),
        ]
    }
}

/// Names, given one by one or with commas.
fn words(given: &[String]) -> Vec<String> {
    let words = given.iter().flat_map(|text| text.split(','));
    words
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// `8-15,20` as numbers, ascending, each once.
fn layers(text: &str) -> Result<Vec<usize>> {
    let wrong = || {
        Error::new(format!("--layers {text}: expected numbers and ranges"))
            .hint("for example --layers 8-15,20")
    };
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (
            first.trim().parse().map_err(|_| wrong())?,
            last.trim().parse().map_err(|_| wrong())?,
        );
        if first > last || last > 100_000 {
            return Err(wrong());
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// `NAME=VALUE` by `NAME=VALUE`; a name may hold `=`, a value not.
fn pattern<T: FromStr>(flag: &str, expected: &str, given: &[String]) -> Result<Pattern<T>> {
    let pair = |text: &String| {
        let wrong = || Error::new(format!("{flag} {text}: expected NAME={expected}"));
        let (name, value) = text.rsplit_once('=').ok_or_else(wrong)?;
        Ok((
            name.trim().to_owned(),
            value.trim().parse().map_err(|_| wrong())?,
        ))
    };
    given.iter().map(pair).collect::<Result<_>>().map(Pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbers_and_ranges() {
        assert_eq!(layers("8-10, 20,9").unwrap(), [8, 9, 10, 20]);
        for wrong in ["", "a", "3-1", "1-", "-1", "1--2", "0-99999999"] {
            assert!(layers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_ends_at_its_last_equals_sign() {
        let ranks: Pattern<usize> = pattern(
            "--rank-pattern",
            "N",
            &["v_proj=2".into(), "a(?=b)=4".into()],
        )
        .unwrap();
        assert_eq!(
            ranks.0,
            [("v_proj".to_owned(), 2), ("a(?=b)".to_owned(), 4)]
        );
        assert!(pattern::<usize>("--rank-pattern", "N", &["v_proj".into()]).is_err());
        assert!(pattern::<usize>("--rank-pattern", "N", &["v_proj=x".into()]).is_err());
    }
}
