//! Rotary embedding: its scalings, and the frequencies that transformers computes for them (modeling_rope_utils.py).
mod growth;
mod sections;
mod valid;

pub use growth::Growth;
pub(crate) use sections::covers;

use std::f64::consts::PI;

/// Rotary embedding of some layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base.
    pub theta: f64,
    /// Features of a head that are rotated, the first ones: head_dim, or less where the family rotates a part.
    pub dim: usize,
    /// Scaling.
    pub scaling: RopeScaling,
    /// That of queries which grow with their position.
    pub growth: Option<Growth>,
}

/// Rotary embedding scaling.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embedding.
    None,
    /// Llama 3's frequency-dependent scaling (transformers `_compute_llama3_parameters`).
    Llama3 {
        /// Context extension factor.
        factor: f64,
        /// Low frequency factor.
        low_freq_factor: f64,
        /// High frequency factor.
        high_freq_factor: f64,
        /// Context length of the original model, tokens.
        original_max_position_embeddings: usize,
    },
    /// Positions divided by a factor.
    Linear {
        /// Context extension factor.
        factor: f64,
    },
    /// A larger base for sequences beyond the original context (`_compute_dynamic_ntk_parameters`).
    Dynamic {
        /// Context extension factor.
        factor: f64,
        /// Context length up to which nothing changes, tokens.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al. 2023; `_compute_yarn_parameters`).
    Yarn {
        /// Context extension factor.
        factor: f64,
        /// What cos and sin are multiplied by.
        attention_factor: f64,
        /// Rotations in the original context above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided by the factor.
        beta_slow: f64,
        /// Context length of the original model, tokens.
        original_max_position_embeddings: usize,
        /// Whether the bounds of the ramp are rounded outwards to whole pairs.
        truncate: bool,
    },
    /// Phi-3's LongRoPE (`_compute_longrope_parameters`): a divisor for every frequency, one list for sequences up to the
    /// original context and one beyond.
    LongRope {
        /// Divisors up to the original context, dim/2 values.
        short_factor: Vec<f64>,
        /// Divisors beyond it, dim/2 values.
        long_factor: Vec<f64>,
        /// What cos and sin are multiplied by.
        attention_factor: f64,
        /// Context length of the original model, tokens.
        original_max_position_embeddings: usize,
    },
    /// The first pairs of a head rotate, with frequencies spaced over all of it; the others stay
    /// (`_compute_proportional_rope_parameters`).
    Proportional {
        /// Pairs that rotate.
        pairs: usize,
        /// What frequencies are divided by.
        factor: f64,
    },
    /// Divisors of the inverse frequencies read from a GGUF `rope_freqs.weight` tensor, dim/2 values.
    Factors(Vec<f32>),
}

/// What the frequency of a pair that stays is divided by, as llama.cpp's converter writes it: no angle differs from 0 then in
/// f32.
pub(crate) const STILL: f64 = 1e30;

impl Rope {
    /// Which frequencies a sequence of `length` tokens has: sequences of equal variants share them. 0 unless the scaling
    /// depends on the length.
    ///
    /// transformers picks by the longest row of a batch, and for `dynamic` keeps the largest length that it has seen; here
    /// every sequence has the frequencies that it has alone.
    #[must_use]
    pub fn variant(&self, length: usize) -> usize {
        match &self.scaling {
            RopeScaling::Dynamic {
                original_max_position_embeddings: context,
                ..
            } if length > *context => length,
            RopeScaling::LongRope {
                original_max_position_embeddings: context,
                ..
            } => usize::from(length > *context),
            _ => 0,
        }
    }

    /// The length up to which frequencies are one thing and beyond which another, tokens; None if they never change.
    pub(crate) fn changes_beyond(&self) -> Option<usize> {
        match &self.scaling {
            RopeScaling::Dynamic {
                original_max_position_embeddings: context,
                ..
            }
            | RopeScaling::LongRope {
                original_max_position_embeddings: context,
                ..
            } => Some(*context),
            _ => None,
        }
    }

    /// What cos and sin are multiplied by.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn {
                attention_factor, ..
            }
            | RopeScaling::LongRope {
                attention_factor, ..
            } => *attention_factor,
            _ => 1.0,
        }
    }

    /// What cos and sin of a position are multiplied by.
    #[must_use]
    pub fn factor(&self, position: usize) -> f64 {
        self.attention_factor() * self.growth.map_or(1.0, |growth| growth.at(position))
    }

    /// Inverse frequencies of a variant (see [`Rope::variant`]), one for each pair of rotated features.
    #[must_use]
    pub fn inverse_frequencies(&self, variant: usize) -> Vec<f32> {
        let theta = match &self.scaling {
            RopeScaling::Dynamic {
                factor,
                original_max_position_embeddings,
            } if variant > 0 => {
                let stretch = factor * variant as f64 / *original_max_position_embeddings as f64
                    - (factor - 1.0);
                self.theta * stretch.powf(self.dim as f64 / (self.dim as f64 - 2.0))
            }
            _ => self.theta,
        };
        let plain = self.powers(theta).map(|p| 1.0 / p);
        match self.divisors(variant) {
            None => plain.map(|f| f as f32).collect(),
            Some(divisors) => plain
                .zip(divisors)
                .map(|(f, divisor)| (f / divisor) as f32)
                .collect(),
        }
    }

    /// θ^(2i/dim) of every pair i.
    fn powers(&self, theta: f64) -> impl Iterator<Item = f64> {
        let dim = self.dim;
        (0..dim.div_ceil(2)).map(move |i| theta.powf((2 * i) as f64 / dim as f64))
    }

    /// What the plain inverse frequencies are divided by; None if nothing. For Llama 3's scaling these are the values of
    /// llama.cpp's `rope_freqs.weight`.
    pub(crate) fn divisors(&self, variant: usize) -> Option<Vec<f64>> {
        let pairs = self.dim.div_ceil(2);
        match &self.scaling {
            RopeScaling::None | RopeScaling::Dynamic { .. } => None,
            RopeScaling::Factors(factors) => Some(factors.iter().map(|&f| f64::from(f)).collect()),
            RopeScaling::Linear { factor } => Some(vec![*factor; pairs]),
            RopeScaling::Proportional {
                pairs: rotated,
                factor,
            } => {
                let divisor = |pair: usize| if pair < *rotated { *factor } else { STILL };
                Some((0..pairs).map(divisor).collect())
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                ..
            } => Some(if variant == 0 {
                short_factor.clone()
            } else {
                long_factor.clone()
            }),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = *original_max_position_embeddings as f64;
                let wavelengths = self.powers(self.theta).map(|p| 2.0 * PI * p);
                Some(
                    wavelengths
                        .map(|w| llama3(w, *factor, *low_freq_factor, *high_freq_factor, context))
                        .collect(),
                )
            }
            RopeScaling::Yarn { factor, .. } => {
                let kept = self.yarn_ramp();
                Some(
                    kept.map(|kept| 1.0 / ((1.0 - kept) / factor + kept))
                        .collect(),
                )
            }
        }
    }

    /// YaRN's weight of the unscaled frequency of every pair: 1 for those that rotate often, 0 for those that rotate seldom.
    fn yarn_ramp(&self) -> impl Iterator<Item = f64> + use<> {
        let (mut low, mut high) = (0.0, 0.0);
        if let RopeScaling::Yarn {
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
            ..
        } = &self.scaling
        {
            let context = *original_max_position_embeddings as f64;
            let dim = self.dim as f64;
            let pair = |rotations: f64| {
                dim * (context / (rotations * 2.0 * PI)).ln() / (2.0 * self.theta.ln())
            };
            (low, high) = (pair(*beta_fast), pair(*beta_slow));
            if *truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            (low, high) = (low.max(0.0), high.min(dim - 1.0));
            if low == high {
                high += 0.001;
            }
        }
        (0..self.dim.div_ceil(2))
            .map(move |i| 1.0 - ((i as f64 - low) / (high - low)).clamp(0.0, 1.0))
    }
}

/// The divisor for a wavelength: 1 for short ones, the factor for long ones, interpolated between.
fn llama3(wavelength: f64, factor: f64, low: f64, high: f64, context: f64) -> f64 {
    if wavelength < context / high {
        1.0
    } else if wavelength > context / low {
        factor
    } else {
        let smooth = (context / wavelength - low) / (high - low);
        1.0 / ((1.0 - smooth) / factor + smooth)
    }
}

/// YaRN's attention factor where the config names none: with both `mscale` values their ratio, else from the factor.
pub(crate) fn yarn_attention_factor(
    factor: f64,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
) -> f64 {
    let scale = |m: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * m * factor.ln() + 1.0
        }
    };
    match (
        mscale.filter(|&m| m != 0.0),
        mscale_all_dim.filter(|&m| m != 0.0),
    ) {
        (Some(mscale), Some(all)) => scale(mscale) / scale(all),
        _ => scale(1.0),
    }
}

/// LongRoPE's attention factor where the config names none.
pub(crate) fn longrope_attention_factor(
    factor: f64,
    original_max_position_embeddings: usize,
) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        (1.0 + factor.ln() / (original_max_position_embeddings as f64).ln()).sqrt()
    }
}

/// Llama 3's parameters whose divisors these are; None if there are none. Every Llama 3 model has the frequency factors
/// 1 and 4; the factor is the largest divisor, the original context a power of two.
pub(crate) fn recover_llama3(found: &[f32], theta: f64) -> Option<RopeScaling> {
    let factor = f64::from(found.iter().copied().fold(1.0, f32::max));
    (4..=24).map(|bits| 1usize << bits).find_map(|context| {
        let scaling = RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: context,
        };
        let rope = Rope {
            theta,
            dim: 2 * found.len(),
            scaling,
            growth: None,
        };
        let expected = rope.divisors(0)?;
        let equal = expected
            .iter()
            .zip(found)
            .all(|(a, &b)| (a - f64::from(b)).abs() <= 1e-4 * a.abs());
        equal.then_some(rope.scaling)
    })
}
