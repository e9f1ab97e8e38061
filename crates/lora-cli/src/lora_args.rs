//! Flags of an adapter beyond rank, alpha and targets, the same for every tool that makes or plans one: PEFT's LoraConfig, one
//! field each.
use crate::values::MOST_RANK;
use crate::{Error, Result};
use std::str::FromStr;

/// What else an adapter can be.
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Adapter")]
pub struct LoraArgs {
    /// Modules that carry no adapter though targeted: names or a regular expression, as for --targets.
    #[arg(long, value_name = "NAMES")]
    pub exclude: Vec<String>,
    /// Layers that carry adapters: numbers and ranges (8-15,20); needs --targets by name [default: all].
    #[arg(long, value_name = "LAYERS")]
    pub layers: Option<String>,
    /// Name before the layer's number, where a model has several kinds of layers [default: any].
    #[arg(long, value_name = "NAME", requires = "layers")]
    pub layers_pattern: Vec<String>,
    /// Rank of single modules, NAME=RANK; may be repeated, the first match wins (NAME is a regular expression on the end of
    /// the module's path).
    #[arg(long, value_name = "NAME=RANK")]
    pub rank_pattern: Vec<String>,
    /// α of single modules, NAME=ALPHA; may be repeated.
    #[arg(long, value_name = "NAME=ALPHA")]
    pub alpha_pattern: Vec<String>,
    /// Modules that train as a whole and are saved with the adapter: lm_head, embed_tokens, norm, any linear layer.
    #[arg(long, value_name = "NAMES")]
    pub modules_to_save: Vec<String>,
    /// Biases of the base that train: none, all, or those of targeted modules (lora_only).
    #[arg(long, value_parser = ["none", "all", "lora_only"])]
    pub bias: Option<String>,
    /// A trained bias on every B.
    #[arg(long)]
    pub lora_bias: bool,
    /// DoRA: a trained magnitude for every output (arXiv 2402.09353).
    #[arg(long)]
    pub dora: bool,
    /// How A and B begin: kaiming, gaussian, false (both random), pissa, pissa_niter_N or olora (both from the base's weights;
    /// saved as a plain adapter of twice the rank) [default: kaiming].
    #[arg(long, value_name = "NAME")]
    pub init: Option<String>,
}

/// One flag as it is given: its name, and its values; none of one that is on or off.
pub type GivenFlag<'a> = (&'static str, Vec<&'a str>);

impl LoraArgs {
    /// The names of all flags, without dashes.
    pub const NAMES: [&'static str; 10] = [
        "exclude",
        "layers",
        "layers-pattern",
        "rank-pattern",
        "alpha-pattern",
        "modules-to-save",
        "bias",
        "lora-bias",
        "dora",
        "init",
    ];

    /// The flags that were given.
    pub fn given(&self) -> impl Iterator<Item = GivenFlag<'_>> {
        fn all(values: &[String]) -> Option<Vec<&str>> {
            (!values.is_empty()).then(|| values.iter().map(String::as_str).collect())
        }
        fn one(value: &Option<String>) -> Option<Vec<&str>> {
            value.as_deref().map(|value| vec![value])
        }
        let on = |is_on: bool| is_on.then(Vec::new);
        let values = [
            all(&self.exclude),
            one(&self.layers),
            all(&self.layers_pattern),
            all(&self.rank_pattern),
            all(&self.alpha_pattern),
            all(&self.modules_to_save),
            one(&self.bias),
            on(self.lora_bias),
            on(self.dora),
            one(&self.init),
        ];
        let pairs = Self::NAMES.into_iter().zip(values);
        pairs.filter_map(|(name, values)| Some((name, values?)))
    }

    /// `--exclude` as one text.
    pub fn excluded(&self) -> Option<String> {
        (!self.exclude.is_empty()).then(|| self.exclude.join(","))
    }

    /// `--layers` as numbers, ascending, each once.
    ///
    /// # Errors
    /// If it is no list of numbers and ranges.
    pub fn layer_numbers(&self) -> Result<Vec<usize>> {
        self.layers.as_deref().map_or(Ok(Vec::new()), layers)
    }

    /// `--layers-pattern` name by name.
    pub fn layer_names(&self) -> Vec<String> {
        words(&self.layers_pattern)
    }

    /// `--rank-pattern`, in order.
    ///
    /// # Errors
    /// If one is no name and rank.
    pub fn ranks(&self) -> Result<Vec<(String, usize)>> {
        let expected = "a whole number from 1 to 65536";
        let all = pattern("--rank-pattern", expected, &self.rank_pattern)?;
        match all.iter().find(|(_, rank)| *rank > MOST_RANK) {
            None => Ok(all),
            Some((name, _)) => Err(Error::new(format!(
                "--rank-pattern {name}: expected a rank from 1 to {MOST_RANK}"
            ))),
        }
    }

    /// `--alpha-pattern`, in order.
    ///
    /// # Errors
    /// If one is no name and number.
    pub fn alphas(&self) -> Result<Vec<(String, f64)>> {
        pattern("--alpha-pattern", "a number", &self.alpha_pattern)
    }

    /// `--modules-to-save` name by name.
    pub fn saved(&self) -> Vec<String> {
        words(&self.modules_to_save)
    }

    /// What is said of an `--init` that nobody knows.
    pub fn unknown_init(word: &str) -> Error {
        Error::new(format!("--init {word} is not known"))
            .hint("kaiming, gaussian, false, pissa, pissa_niter_N and olora are")
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
fn pattern<T: FromStr>(flag: &str, expected: &str, given: &[String]) -> Result<Vec<(String, T)>> {
    let pair = |text: &String| {
        let wrong = || Error::new(format!("{flag} {text}: expected NAME={expected}"));
        let (name, value) = text.rsplit_once('=').ok_or_else(wrong)?;
        Ok((
            name.trim().to_owned(),
            value.trim().parse().map_err(|_| wrong())?,
        ))
    };
    given.iter().map(pair).collect()
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
        let given = ["v_proj=2".into(), "a(?=b)=4".into()];
        let ranks: Vec<(String, usize)> = pattern("--rank-pattern", "N", &given).unwrap();
        assert_eq!(ranks, [("v_proj".to_owned(), 2), ("a(?=b)".to_owned(), 4)]);
        assert!(pattern::<usize>("--rank-pattern", "N", &["v_proj".into()]).is_err());
        assert!(pattern::<usize>("--rank-pattern", "N", &["v_proj=x".into()]).is_err());
    }
}
