//! Flags of how answers are generated, the same for every tool that generates.
use crate::{Error, Result};

/// How tokens are chosen and where an answer ends.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(next_help_heading = "Generation")]
pub struct SamplingArgs {
    /// Draw tokens at this temperature; 0 takes the most probable one.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub temperature: f64,
    /// Draw from the K most probable tokens; 0 is all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Draw from the most probable tokens that together have this probability.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Draw from tokens of at least this share of the most probable one's probability.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f64,
    /// Make tokens that prompt and answer have less probable; 1 is off.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// End an answer before this text, may be repeated; the model's own end tokens always end it.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Seed of the draws: with it, the same prompt has the same answer in any order and company.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// Refuses values that are none.
    ///
    /// # Errors
    /// When a value is outside its range, or would have no effect.
    pub fn check(&self) -> Result<()> {
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let finite = |x: f64, least: f64| x.is_finite() && x >= least;
        for (is_fine, message, hint) in [
            (
                finite(self.temperature, 0.0),
                "--temperature is no temperature",
                "0 is greedy, 1 draws from the model's own probabilities",
            ),
            (
                share(self.top_p) && self.top_p > 0.0,
                "--top-p is a probability above 0",
                "1 is off, 0.9 is common",
            ),
            (
                share(self.min_p),
                "--min-p is a share between 0 and 1",
                "0 is off, 0.05 is common",
            ),
            (
                finite(self.repetition_penalty, 1.0),
                "--repetition-penalty must be at least 1",
                "1 is off, 1.1 is common",
            ),
            (
                self.stop.iter().all(|text| !text.is_empty()),
                "--stop is empty",
                "name a text that ends an answer",
            ),
        ] {
            if !is_fine {
                return Err(Error::new(message).hint(hint));
            }
        }
        let filters = self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0;
        if filters && self.temperature == 0.0 {
            return Err(Error::new(
                "--top-k, --top-p and --min-p have no effect without --temperature",
            )
            .hint("--temperature 1 draws from the model's own probabilities"));
        }
        Ok(())
    }

    /// Where an answer ends by one of the texts, if it does: bytes before it.
    pub fn end_of(&self, text: &str) -> Option<usize> {
        self.stop.iter().filter_map(|stop| text.find(stop)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> SamplingArgs {
        SamplingArgs {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            stop: vec!["\n\n".to_owned(), "User:".to_owned()],
            seed: 0,
        }
    }

    #[test]
    fn values_out_of_range_and_without_effect_are_refused() {
        assert!(args().check().is_ok());
        for wrong in [
            SamplingArgs {
                temperature: f64::NAN,
                ..args()
            },
            SamplingArgs {
                temperature: -1.0,
                ..args()
            },
            SamplingArgs {
                temperature: 1.0,
                top_p: 0.0,
                ..args()
            },
            SamplingArgs {
                temperature: 1.0,
                min_p: 2.0,
                ..args()
            },
            SamplingArgs {
                repetition_penalty: 0.0,
                ..args()
            },
            SamplingArgs { top_k: 5, ..args() },
            SamplingArgs {
                stop: vec![String::new()],
                ..args()
            },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_first_stop_text_ends_an_answer() {
        assert_eq!(args().end_of("yes\n\nUser: no"), Some(3));
        assert_eq!(args().end_of("yes User:\n\n"), Some(4));
        assert_eq!(args().end_of("yes\nno"), None);
    }
}
