//! What is measured: the losses' metrics, metrics of answers, and scores of the user's programs, all as sums a row.
use crate::metrics::{Better, Metric, Scale};
use lora_model::SequenceLoss;
use std::fmt;

/// How the figure comes from sums.
type Of = Box<dyn Fn(&[f64]) -> f64>;

/// One metric, as the statistics see it.
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) scale: Scale,
    pub(crate) better: Better,
    /// It is the mean loss: its differences are nearly normal.
    pub(crate) is_loss: bool,
    /// It is no function of another one, and so a test of its own.
    pub(crate) is_tested: bool,
    of: Of,
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Measure {
    /// The losses' metrics, in the order of their sums in [`loss_sums`].
    pub(crate) fn of_losses() -> [Self; 3] {
        let ratio = |sums: &[f64]| sums[0] / sums[1];
        // JSON knows no infinity.
        let perplexity = move |sums: &[f64]| ratio(sums).exp().min(f64::MAX);
        let made = |name: &str, scale, better, of: Of| Self {
            name: name.to_owned(),
            scale,
            better,
            is_loss: name == "loss",
            is_tested: name != "perplexity",
            of,
        };
        [
            made("loss", Scale::Free, Better::Lower, Box::new(ratio)),
            made(
                "perplexity",
                Scale::Free,
                Better::Lower,
                Box::new(perplexity),
            ),
            made(
                "token_accuracy",
                Scale::Unit,
                Better::Higher,
                Box::new(ratio),
            ),
        ]
    }

    /// A metric of answers.
    pub(crate) fn of_answers(metric: Box<dyn Metric>) -> Self {
        Self {
            name: metric.name().to_owned(),
            scale: metric.scale(),
            better: Better::Higher,
            is_loss: false,
            is_tested: true,
            of: Box::new(move |sums| metric.figure(sums)),
        }
    }

    /// The mean of scores, as of a metric command or of several answers to a prompt.
    pub(crate) fn of_scores(name: &str, scale: Scale) -> Self {
        Self {
            name: name.to_owned(),
            scale,
            better: Better::Higher,
            is_loss: false,
            is_tested: true,
            of: Box::new(|sums| sums[0] / sums[1]),
        }
    }

    /// The value for summed sums.
    pub(crate) fn figure(&self, sums: &[f64]) -> f64 {
        (self.of)(sums)
    }
}

/// Sums of a row's loss for the measures of [`Measure::of_losses`].
pub(crate) fn loss_sums(loss: &SequenceLoss) -> [Vec<f64>; 3] {
    let tokens = loss.tokens as f64;
    [
        vec![loss.nll, tokens],
        vec![loss.nll, tokens],
        vec![loss.correct as f64, tokens],
    ]
}
