//! Rotary frequencies of a config, shared by both routes.
use lora_checkpoint::{ModelConfig, RopeScaling};

/// Inverse frequencies, head_dim/2 values, with the config's scaling applied: what transformers' rope init functions
/// compute, in f32.
#[must_use]
pub fn inverse_frequencies(config: &ModelConfig) -> Vec<f32> {
    let d = config.head_dim;
    let plain = (0..d / 2).map(|i| (1.0 / config.rope_theta.powf((2 * i) as f64 / d as f64)) as f32);
    match &config.rope_scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Factors(factors) => plain.zip(factors).map(|(f, &factor)| f / factor).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            let context = *original_max_position_embeddings as f64;
            plain.map(|f| llama3(f64::from(f), *factor, *low_freq_factor, *high_freq_factor, context) as f32).collect()
        }
    }
}

/// transformers `_compute_llama3_parameters`: long wavelengths are divided by the factor, short ones kept, those between
/// are interpolated.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, context: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength > context / low {
        frequency / factor
    } else if wavelength < context / high {
        frequency
    } else {
        let smooth = (context / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}
