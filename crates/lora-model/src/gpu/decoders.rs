//! Which decoders this route computes: those whose layers consist of what the device has kernels for.
use crate::Error;
use lora_checkpoint::{Activation, Block, Mlp, ModelConfig, NormKind};

/// What the gate goes through.
///
/// # Errors
/// If the layers hold something that is not computed here: refused by name.
pub(super) fn gate(config: &ModelConfig) -> Result<lora_gpu::Activation, Error> {
    let facts = config.facts();
    let linears = facts.projections.iter();
    if config.is_recurrent() {
        return Err(refused("layers that keep a state", facts.model_type));
    }
    if linears.clone().any(|p| p.is_by_heads()) {
        return Err(refused("a gate on attention's output", facts.model_type));
    }
    if facts.output_scale.is_some() {
        return Err(refused(
            "values with a norm of their own, and layers' outputs times a number",
            facts.model_type,
        ));
    }
    let lacking = match (facts.norm_kind, facts.block, facts.mlp) {
        _ if config.experts.is_some() => "mixtures of experts",
        _ if facts.sinks.is_some() => "attention sinks",
        (NormKind::Layer { .. }, ..) => "LayerNorm",
        (_, Block::Parallel, _) => "attention and MLP side by side",
        (.., Mlp::Plain(_)) => "an MLP without a gate",
        (.., Mlp::Xielu) => "xIELU",
        (.., Mlp::Gated(Activation::Silu)) => return Ok(lora_gpu::Activation::Silu),
        (.., Mlp::Gated(Activation::GeluTanh)) => return Ok(lora_gpu::Activation::GeluTanh),
    };
    Err(refused(lacking, facts.model_type))
}

fn refused(lacking: &str, model: &str) -> Error {
    let message = format!("on a GPU this version does not compute {lacking}, which {model} has");
    Error::invalid(message).hint("--device cpu does")
}
