//! What can be said of a family: the types that the files beside this one fill in. No family is named here.
use super::experts::ExpertFacts;
pub(crate) use super::gguf_facts::{
    GgufCap, GgufFacts, GgufLocalBase, GgufWindows, NAME_KEY, SmallValues, Unloaded,
};
pub(crate) use super::json_facts::{
    BiasKey, DefaultRope, JsonFacts, LocalRope, RopeInWindows, Sliding, SoftCap,
};
pub use super::kinds::{Activation, Block, HeadNorms, Mlp, Norm, NormKind, RotaryPairs};
use super::mixers::Recurrent;
pub use super::shapes::Published;
pub(super) use super::shapes::published;
use crate::Projection;

/// One family: all that is known of it.
#[derive(Debug)]
pub struct Facts {
    /// transformers' `model_type`.
    pub model_type: &'static str,
    /// transformers' class.
    pub architecture: &'static str,
    /// The linear layers of a layer, in the order of the forward pass.
    pub projections: &'static [Projection],
    /// Where some layers keep a state, in place of keys and values or beside them.
    pub recurrent: Option<Recurrent>,
    /// Module paths in a layer of those that are not called as in most families.
    pub names: &'static [(Projection, &'static str)],
    /// The norms of a layer and their module paths, in the order of the forward pass.
    pub norms: &'static [(Norm, &'static str)],
    /// Module path of the last norm.
    pub last_norm: &'static str,
    /// What else a layer holds in transformers, without weights: an expression of PEFT's can match it.
    pub weightless: &'static [&'static str],
    /// What its norms compute.
    pub norm_kind: NormKind,
    /// How attention and MLP stand to each other.
    pub block: Block,
    /// Where there are norms of queries and keys.
    pub head_norms: HeadNorms,
    /// Of the rotary embedding.
    pub rotary_pairs: RotaryPairs,
    /// Whether values are normalised head by head, without a weight.
    pub normalised_values: bool,
    /// Name in a layer of a number that the layer's output is multiplied by. transformers keeps it as a buffer: nothing trains it.
    pub output_scale: Option<&'static str>,
    /// Name in a layer of a score of each head that stands in the softmax beside those of the keys and has no value (attention
    /// sinks; Xiao et al. 2024).
    pub sinks: Option<&'static str>,
    /// What scores are multiplied by, whatever the width of heads.
    pub attention_scale: Option<f64>,
    /// What is added to the stored weight of a norm: Gemma stores γ − 1.
    pub norm_offset: f32,
    /// What its MLP computes.
    pub mlp: Mlp,
    /// Its experts, in layers that have some: each is such an MLP, without biases unless it says so.
    pub experts: Option<ExpertFacts>,
    /// Whether embeddings are multiplied by √H.
    pub scaled_embedding: bool,
    /// Names of the modules that PEFT targets where nothing is said
    /// (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING); empty where PEFT has no default.
    pub peft_targets: &'static [&'static str],
    /// Linear layers on which PEFT puts no LoRA: it refuses them by their names, since transformers' fast way through Mamba passes
    /// over what is added there.
    pub unadapted: &'static [Projection],
    /// Beginnings of names of weights that files hold beside the decoder's, and that transformers does not read.
    pub(crate) unread_weights: &'static [&'static str],
    /// Its config.json.
    pub(crate) json: JsonFacts,
    /// Its GGUF files.
    pub(crate) gguf: GgufFacts,
    /// Shapes of published models, from their config.json.
    pub published: &'static [Published],
}

impl Facts {
    /// Module path in a layer of one of its norms, if it has it.
    #[must_use]
    pub fn norm(&self, norm: Norm) -> Option<&'static str> {
        self.norms
            .iter()
            .find(|(n, _)| *n == norm)
            .map(|(_, path)| *path)
    }

    /// Module path in a layer of a projection.
    #[must_use]
    pub fn path(&self, projection: Projection) -> &'static str {
        let own = self.names.iter().find(|(p, _)| *p == projection);
        own.map_or(projection.usual_path(), |(_, path)| path)
    }

    /// Whether attention stands beside what keeps a state, in all layers.
    pub(crate) fn beside_attention(&self) -> bool {
        self.recurrent
            .as_ref()
            .is_some_and(|own| own.beside_attention)
    }

    /// Whether its norms subtract the mean.
    #[must_use]
    pub fn subtracts_mean(&self, norm: Norm) -> bool {
        let of_heads = matches!(norm, Norm::Query | Norm::Key);
        !of_heads && matches!(self.norm_kind, NormKind::Layer { .. })
    }

    /// Whether a norm has a bias.
    #[must_use]
    pub fn has_norm_bias(&self, norm: Norm) -> bool {
        self.subtracts_mean(norm) && self.norm_kind.has_bias()
    }

    /// The linear layer in which a projection lies: itself, or the stacked one.
    #[must_use]
    pub fn linear_of(&self, projection: Projection) -> Projection {
        let recurrent = self.recurrent.iter().flat_map(|own| own.projections);
        let mut all = self.projections.iter().chain(recurrent).copied();
        all.find(|p| p.parts().contains(&projection))
            .unwrap_or(projection)
    }
}
