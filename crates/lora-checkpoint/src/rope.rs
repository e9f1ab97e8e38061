//! Llama 3's rotary scaling in its two forms: four parameters (config.json), or a divisor for every frequency (GGUF).
use crate::RopeScaling;
use std::f64::consts::PI;

/// The divisors that llama.cpp's converter writes into `rope_freqs.weight` for Llama 3's parameters; None for a plain
/// embedding.
pub(crate) fn factors(scaling: &RopeScaling, theta: f64, head_dim: usize) -> Option<Vec<f32>> {
    match scaling {
        RopeScaling::None => None,
        RopeScaling::Factors(factors) => Some(factors.clone()),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            let (low, high) = (*low_freq_factor, *high_freq_factor);
            let context = *original_max_position_embeddings as f64;
            let divisor = |pair: usize| {
                let wavelength = 2.0 * PI * theta.powf((2 * pair) as f64 / head_dim as f64);
                if wavelength < context / high {
                    1.0
                } else if wavelength > context / low {
                    *factor
                } else {
                    let smooth = (context / wavelength - low) / (high - low);
                    1.0 / ((1.0 - smooth) / factor + smooth)
                }
            };
            Some((0..head_dim / 2).map(|pair| divisor(pair) as f32).collect())
        }
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
        let expected = factors(&scaling, theta, 2 * found.len())?;
        let equal = expected.iter().zip(found).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs());
        equal.then_some(scaling)
    })
}
