//! Which decoders this route computes: those whose layers consist of what the device has kernels for.
use crate::Error;
use lora_checkpoint::{ModelConfig, Norm};

/// # Errors
/// If the layers hold something that is not computed here: refused by name.
pub(super) fn check(config: &ModelConfig) -> Result<(), Error> {
    let facts = config.facts();
    let of_outputs = [Norm::AttentionOutput, Norm::MlpOutput];
    let of_outputs = of_outputs.into_iter().filter(|n| facts.norm(*n).is_some());
    let lacks = [
        (
            config.experts.is_some() && facts.norm(Norm::MlpOutput).is_some(),
            "a norm of what experts give",
        ),
        (
            of_outputs.into_iter().any(|n| facts.subtracts_mean(n)),
            "LayerNorm of attention's or the MLP's output",
        ),
    ];
    match lacks.into_iter().find(|(lacks, _)| *lacks) {
        None => Ok(()),
        Some((_, what)) => {
            let model = facts.model_type;
            let message =
                format!("on a GPU this version does not compute {what}, which {model} has");
            Err(Error::invalid(message).hint("--device cpu does"))
        }
    }
}
