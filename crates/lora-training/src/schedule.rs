//! The learning rate of every step: transformers' schedules, by its formulas.
use serde::{Deserialize, Serialize};

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Down to 0 in a straight line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
    /// None.
    Constant,
}

/// A learning-rate schedule over a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub decay: Decay,
    /// Rate at the end of the warm-up.
    pub peak: f64,
    /// Steps of warm-up, from rate 0.
    pub warmup_steps: u64,
    /// All steps of the run.
    pub total_steps: u64,
}

impl Schedule {
    /// Resolves a warm-up given as a share of the run (below 1) or as a number of steps (`get_warmup_steps`: rounded up). A
    /// share of a run of one step is none: that step would have rate 0.
    pub fn new(decay: Decay, peak: f64, warmup: f64, total_steps: u64) -> Self {
        let warmup_steps = if warmup < 1.0 && total_steps <= 1 {
            0.0
        } else if warmup < 1.0 {
            (total_steps as f64 * warmup).ceil()
        } else {
            warmup.round()
        };
        Self {
            decay,
            peak,
            warmup_steps: warmup_steps as u64,
            total_steps,
        }
    }

    /// True if every step has rate 0: nothing would be learned.
    pub fn never_leaves_zero(&self) -> bool {
        self.total_steps <= 1 && self.warmup_steps > 0
    }

    /// The rate of a step, counted from 0 (transformers' `get_{constant,linear,cosine}_schedule_with_warmup`).
    pub fn rate(&self, step: u64) -> f64 {
        let (step, warmup, total) = (
            step as f64,
            self.warmup_steps as f64,
            self.total_steps as f64,
        );
        if step < warmup {
            return self.peak * (step / warmup.max(1.0));
        }
        let span = (total - warmup).max(1.0);
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => ((total - step) / span).max(0.0),
            Decay::Cosine => {
                (0.5 * (1.0 + (std::f64::consts::PI * ((step - warmup) / span)).cos())).max(0.0)
            }
        };
        self.peak * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(decay: Decay, warmup: f64) -> Vec<f64> {
        let schedule = Schedule::new(decay, 1e-3, warmup, 10);
        (0..10).map(|step| schedule.rate(step)).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (step, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f - e).abs() < 1e-12, "step {step}: {f} is not {e}");
        }
    }

    /// Values of transformers 5.23 `get_scheduler(name, opt(lr=1e-3), num_warmup_steps=2, num_training_steps=10)`.
    #[test]
    fn equals_transformers_with_two_steps_of_warmup() {
        assert_close(
            &rates(Decay::Linear, 2.0),
            &[
                0.0, 5e-4, 1e-3, 8.75e-4, 7.5e-4, 6.25e-4, 5e-4, 3.75e-4, 2.5e-4, 1.25e-4,
            ],
        );
        assert_close(
            &rates(Decay::Cosine, 2.0),
            &[
                0.0,
                5e-4,
                1e-3,
                9.619397662556434e-4,
                8.535533905932738e-4,
                6.913417161825449e-4,
                5e-4,
                3.086582838174551e-4,
                1.4644660940672628e-4,
                3.806023374435663e-5,
            ],
        );
        assert_close(
            &rates(Decay::Constant, 2.0),
            &[0.0, 5e-4, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3],
        );
    }

    #[test]
    fn without_warmup_the_first_rate_is_the_peak() {
        assert_eq!(rates(Decay::Linear, 0.0)[0], 1e-3);
        assert_eq!(rates(Decay::Cosine, 0.0)[0], 1e-3);
        assert_close(&rates(Decay::Linear, 0.0)[8..], &[2e-4, 1e-4]);
    }

    #[test]
    fn a_share_of_the_run_is_rounded_up_to_steps() {
        assert_eq!(Schedule::new(Decay::Linear, 1.0, 0.03, 100).warmup_steps, 3);
        assert_eq!(Schedule::new(Decay::Linear, 1.0, 0.03, 101).warmup_steps, 4);
        assert_eq!(Schedule::new(Decay::Linear, 1.0, 5.0, 100).warmup_steps, 5);
    }

    #[test]
    fn some_step_has_a_rate_unless_all_are_said_to_be_zero() {
        for decay in [Decay::Linear, Decay::Cosine, Decay::Constant] {
            for warmup in [0.0, 0.03, 0.99, 1.0, 2.0, 50.0] {
                for total in 1..20 {
                    let schedule = Schedule::new(decay, 1.0, warmup, total);
                    let some = (0..total).any(|step| schedule.rate(step) > 0.0);
                    assert_eq!(some, !schedule.never_leaves_zero(), "{schedule:?}");
                    assert!(some || warmup >= 1.0, "{schedule:?}");
                }
            }
        }
    }
}
