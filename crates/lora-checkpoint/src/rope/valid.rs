//! Which numbers a rotary embedding may have.
use super::{Rope, RopeScaling};

impl Rope {
    /// Checks the numbers; the message names the key as config.json has it.
    pub(crate) fn validate(&self) -> Result<(), String> {
        positive("rope_theta", self.theta)?;
        if let Some(growth) = self.growth {
            if !(growth.beta.is_finite() && growth.beta >= 0.0) {
                return Err(format!(
                    "llama_4_scaling_beta is {}, expected a number that is not negative",
                    growth.beta
                ));
            }
            positive(
                "rope original_max_position_embeddings",
                growth.original_max_position_embeddings as f64,
            )?;
        }
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope factor", *factor),
            RopeScaling::Proportional { pairs, factor } => {
                if *pairs > self.dim / 2 {
                    return Err(format!("{pairs} pairs of {} features rotate", self.dim));
                }
                positive("rope factor", *factor)
            }
            RopeScaling::Dynamic {
                factor,
                original_max_position_embeddings: context,
            } => {
                if self.dim <= 2 {
                    return Err("rope_type dynamic needs more than 2 rotated features".to_owned());
                }
                at_least_one("rope factor", *factor)?;
                positive("max_position_embeddings", *context as f64)
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("rope factor", *factor)?;
                positive("rope low_freq_factor", *low_freq_factor)?;
                positive("rope high_freq_factor", *high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(format!(
                        "rope high_freq_factor {high_freq_factor} is not above low_freq_factor {low_freq_factor}"
                    ));
                }
                positive(
                    "rope original_max_position_embeddings",
                    *original_max_position_embeddings as f64,
                )
            }
            RopeScaling::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                ..
            } => {
                positive("rope factor", *factor)?;
                positive("rope attention_factor", *attention_factor)?;
                positive("rope beta_fast", *beta_fast)?;
                positive("rope beta_slow", *beta_slow)?;
                if self.theta <= 1.0 {
                    return Err(format!(
                        "rope_theta is {}, yarn needs more than 1",
                        self.theta
                    ));
                }
                positive(
                    "rope original_max_position_embeddings",
                    *original_max_position_embeddings as f64,
                )
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                attention_factor,
                original_max_position_embeddings,
            } => {
                for (key, factors) in [("short_factor", short_factor), ("long_factor", long_factor)]
                {
                    self.check_factors(&format!("rope {key}"), factors.iter().copied())?;
                }
                positive("rope attention_factor", *attention_factor)?;
                positive(
                    "rope original_max_position_embeddings",
                    *original_max_position_embeddings as f64,
                )
            }
            RopeScaling::Factors(factors) => {
                self.check_factors("rope_freqs", factors.iter().map(|&f| f64::from(f)))
            }
        }
    }

    fn check_factors(
        &self,
        key: &str,
        factors: impl ExactSizeIterator<Item = f64>,
    ) -> Result<(), String> {
        let pairs = self.dim.div_ceil(2);
        if factors.len() != pairs {
            return Err(format!(
                "{key} has {} values, expected one for each of {pairs} pairs",
                factors.len()
            ));
        }
        let value = format!("{key} value");
        factors.into_iter().try_for_each(|f| positive(&value, f))
    }
}

fn positive(key: &str, x: f64) -> Result<(), String> {
    match x.is_finite() && x > 0.0 {
        true => Ok(()),
        false => Err(format!("{key} is {x}, expected a positive number")),
    }
}

fn at_least_one(key: &str, x: f64) -> Result<(), String> {
    match x.is_finite() && x >= 1.0 {
        true => Ok(()),
        false => Err(format!("{key} is {x}, expected at least 1")),
    }
}
