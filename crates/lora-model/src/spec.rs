//! What LoRA can be put on in a decoder. Names and shapes are the config's (lora-checkpoint).
use lora_checkpoint::ModelConfig;
use lora_core::LinearModule;

pub use lora_checkpoint::Projection;

/// All linear modules in model order: the projections layer by layer, then the head.
#[must_use]
pub fn linear_modules(config: &ModelConfig) -> Vec<LinearModule> {
    let mut modules = Vec::with_capacity(config.num_hidden_layers * config.projections().len() + 1);
    for layer in 0..config.num_hidden_layers {
        for &projection in config.projections() {
            let (out_features, in_features) = config.shape(projection);
            modules.push(LinearModule { path: projection.path(layer), in_features, out_features, is_head: false });
        }
    }
    let (in_features, out_features) = (config.hidden_size, config.vocab_size);
    modules.push(LinearModule { path: "lm_head".into(), in_features, out_features, is_head: true });
    modules
}
