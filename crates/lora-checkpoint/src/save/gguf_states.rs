//! What GGUF can't say of layers that keep a state, and which of them have attention.
use crate::ModelConfig;
use crate::families::{MambaNorm, MambaShape, RecurrentKind};
use crate::gguf::architecture;

/// What llama.cpp has not of this model's Mamba-2.
pub(super) fn unsaid(config: &ModelConfig) -> Option<String> {
    let own = config.mamba?;
    let architecture = architecture(config);
    let [least, most] = own.limits;
    match own {
        _ if !own.conv_bias => Some(format!(
            "llama.cpp's {architecture} adds a bias behind Mamba-2's convolution, this model has none"
        )),
        _ if own.limits != MambaShape::UNLIMITED => Some(format!(
            "llama.cpp has no limits of Mamba-2's steps, this model has {least} to {most} (time_step_limit)"
        )),
        _ if own.norm == MambaNorm::BeforeGate => Some(format!(
            "llama.cpp's {architecture} has Mamba-2's norm behind its gate, this model before it (mamba_norm_before_gate)"
        )),
        _ if config.biases.mamba_in || config.biases.mamba_out => Some(format!(
            "llama.cpp's {architecture} has no biases on Mamba's projections, this model has (mamba_proj_bias, projectors_bias)"
        )),
        _ => None,
    }
}

/// As many layers as lead to the first that has attention, of a family where it is every so many-th.
pub(super) fn attention_every(config: &ModelConfig) -> Option<usize> {
    let recurrent = config.facts().recurrent.as_ref()?;
    if !matches!(recurrent.kind, RecurrentKind::Delta { .. }) {
        return None;
    }
    let first = config.layers.iter().position(|layer| layer.has_attention());
    Some(first.unwrap_or(config.num_hidden_layers) + 1)
}
