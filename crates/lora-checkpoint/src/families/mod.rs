//! The families of decoders, one file each: a new family of known parts is a new file and a line in [`FAMILIES`]. Everything
//! else reads [`Facts`], and names no family.

mod apertus;
mod cohere2;
mod ernie4_5;
mod exaone4;
mod experts;
mod facts;
mod falcon_h1;
mod gemma;
mod gemma2;
mod gemma3;
mod gemma4;
mod gguf_facts;
mod glm4;
mod gpt_oss;
mod granite;
mod granitemoe;
mod granitemoehybrid;
mod granitemoeshared;
mod helium;
mod hunyuan_v1_dense;
mod json_facts;
mod kinds;
mod lfm2;
mod lfm2_moe;
mod llama;
mod mamba;
mod ministral;
mod ministral3;
mod mistral;
mod mixers;
mod mixtral;
mod olmo2;
mod olmo3;
mod olmoe;
mod parts;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen3_5;
mod qwen3_moe;
mod seed_oss;
mod shapes;
mod smollm3;
mod starcoder2;
mod variants;

pub(crate) use experts::{
    CHOICE_BIAS, DENSE_LAYERS, ExpertLayers, Normalised, SCALE, Shared, Stacked,
};
pub use experts::{Clamp, EXPERT_PROJECTIONS, ExpertFacts, Experts, Scores};
pub(crate) use facts::{
    BiasKey, DefaultRope, GgufCap, GgufFacts, GgufLocalBase, GgufWindows, LocalRope, NAME_KEY,
    RopeInWindows, Sliding, SmallValues, SoftCap, Unloaded,
};
pub use facts::{Facts, Published};
pub(crate) use kinds::is_rounded;
pub use kinds::{
    Activation, Block, HeadNorms, Mlp, Norm, NormKind, RotaryPairs, XIELU_BETA, XIELU_EPS,
    XieluNumber,
};

pub use mamba::{MambaNorm, MambaPart, MambaShape};
pub(crate) use mixers::RecurrentKind;
pub use mixers::{DeltaPart, DeltaShape, Mixer, Recurrent, ShortConv};
pub use variants::{Heads, PER_LAYER_EMBEDDING, PerLayer, Variants};

use std::fmt;

/// All families. Where several share a name in GGUF, the first is the one that a file is of unless it says more. One that
/// has no name of its own there stands behind those that its files are read as.
static FAMILIES: [&Facts; 35] = [
    &llama::FACTS,
    &smollm3::FACTS,
    &mistral::FACTS,
    &qwen2::FACTS,
    &qwen3::FACTS,
    &qwen3_moe::FACTS,
    &gemma::FACTS,
    &gemma2::FACTS,
    &gemma3::FACTS,
    &gemma4::FACTS,
    &phi3::FACTS,
    &glm4::FACTS,
    &granite::FACTS,
    &olmo2::FACTS,
    &ernie4_5::FACTS,
    &seed_oss::FACTS,
    &olmo3::FACTS,
    &olmoe::FACTS,
    &mixtral::FACTS,
    &granitemoe::FACTS,
    &granitemoeshared::FACTS,
    &gpt_oss::FACTS,
    &exaone4::FACTS,
    &ministral::FACTS,
    &ministral3::FACTS,
    &hunyuan_v1_dense::FACTS,
    &starcoder2::FACTS,
    &apertus::FACTS,
    &cohere2::FACTS,
    &qwen3_5::FACTS,
    &lfm2::FACTS,
    &lfm2_moe::FACTS,
    &helium::FACTS,
    &granitemoehybrid::FACTS,
    &falcon_h1::FACTS,
];

/// What a GGUF file shows of its family, beside the architecture.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks<'n> {
    /// The family of ours that it names ([`NAME_KEY`]).
    pub(crate) named: Option<&'n str>,
    /// Whether it names a window.
    pub(crate) window: bool,
    /// Whether it names experts.
    pub(crate) experts: bool,
    /// Whether it names an MLP beside those.
    pub(crate) shared: bool,
}

/// A family of decoders: a place in the registry.
#[derive(Clone, Copy)]
pub struct Family(&'static Facts);

impl Family {
    /// All families.
    pub fn all() -> impl Iterator<Item = Self> {
        FAMILIES.into_iter().map(Self)
    }

    /// What its models share.
    #[must_use]
    pub fn facts(self) -> &'static Facts {
        self.0
    }

    /// The family of a `model_type`.
    #[must_use]
    pub fn of_model_type(model_type: &str) -> Option<Self> {
        Self::all().find(|f| f.0.model_type == model_type)
    }

    /// The family of a GGUF architecture, in a file that shows this.
    pub(crate) fn of_gguf(architecture: &str, marks: Marks<'_>) -> Option<Self> {
        let is_named = |f: &Self| marks.named.is_none_or(|name| f.0.model_type == name);
        let is_own = |f: &Self| {
            let has = f.0.gguf.architecture == architecture || f.is_stateless_in(architecture);
            let names_itself = f.name_in_gguf(architecture).is_some();
            has && names_itself == marks.named.is_some() && is_named(f)
        };
        let is_alike = |f: &Self| {
            let experts = &f.0.experts;
            let shared = experts.is_some_and(|own| own.shared.is_some());
            (experts.is_some(), shared) == (marks.experts, marks.shared)
        };
        let are_told_apart = Self::all().any(|f| is_own(&f) && is_alike(&f));
        let own = || Self::all().filter(|f| is_own(f) && (is_alike(f) || !are_told_apart));
        own()
            .find(|f| f.0.gguf.marked_by_window && marks.window)
            .or_else(|| own().find(|f| !f.0.gguf.marked_by_window))
    }

    /// Whether an architecture is that of its models none of whose layers keeps a state, and another family's.
    fn is_stateless_in(self, architecture: &str) -> bool {
        let own = self.0.gguf.stateless;
        own.is_some_and(|own| own.contains(&architecture))
    }

    /// What a file of an architecture names it by, if it must ([`GgufFacts::told_by_name`], [`GgufFacts::stateless`]).
    pub(crate) fn name_in_gguf(self, architecture: &str) -> Option<&'static str> {
        let must = self.0.gguf.told_by_name || self.is_stateless_in(architecture);
        must.then_some(self.0.model_type)
    }

    /// The families, for a hint.
    pub(crate) fn names() -> String {
        let names: Vec<&str> = Self::all().map(|f| f.0.model_type).collect();
        names.join(", ")
    }

    /// The GGUF architectures, for a hint.
    pub(crate) fn gguf_names() -> String {
        let mut names: Vec<&str> = Self::all().map(|f| f.0.gguf.architecture).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.0.model_type == other.0.model_type
    }
}

impl Eq for Family {}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.model_type)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Projection;

    #[test]
    fn every_family_has_all_parts_once_and_its_own_name() {
        for family in Family::all() {
            let facts = family.facts();
            let parts: Vec<Projection> = facts
                .projections
                .iter()
                .flat_map(|p| p.parts())
                .copied()
                .filter(|&part| part != Projection::OutputGate)
                .collect();
            let expected = match facts.mlp.is_gated() {
                true => parts::APART,
                false => parts::WITHOUT_GATE,
            };
            assert_eq!(parts, expected, "{family:?}");
            assert!(
                parts
                    .iter()
                    .all(|&p| facts.linear_of(p).parts().contains(&p))
            );
            let normed = |before, after| facts.norm(before).or(facts.norm(after)).is_some();
            assert!(normed(Norm::Input, Norm::AttentionOutput));
            let is_parallel = facts.block == Block::Parallel;
            assert_ne!(normed(Norm::MlpInput, Norm::MlpOutput), is_parallel);
            // Nothing says what a norm of one output of two would be.
            let sum_is_plain = facts.norm(Norm::AttentionOutput).is_none();
            assert!(sum_is_plain || !facts.beside_attention());
            assert_eq!(Family::of_model_type(facts.model_type).unwrap(), family);
            let marks = Marks {
                named: family.name_in_gguf(facts.gguf.architecture),
                window: facts.gguf.marked_by_window,
                experts: facts.experts.is_some(),
                shared: facts.experts.is_some_and(|own| own.shared.is_some()),
            };
            let found = Family::of_gguf(facts.gguf.architecture, marks).unwrap();
            // Experts are added to the hidden state as they are.
            assert!(facts.experts.is_none() || facts.norm(Norm::MlpOutput).is_none());
            // A family without a name of its own in GGUF has the layers of the one that its files are read as.
            let layers = |f: &Facts| (f.projections, f.norms, f.head_norms, f.gguf.permuted);
            assert_eq!(layers(found.facts()), layers(facts), "{family:?}");
            let reads_alike = found == family || found.facts().gguf.architecture == "llama";
            assert!(reads_alike, "{}", facts.gguf.architecture);
        }
    }
}
