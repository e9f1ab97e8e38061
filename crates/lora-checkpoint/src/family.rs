//! What all models of a family share, as data: the parts of a layer, their names, and how the parts compute. One row a
//! family; nothing elsewhere asks for a family by name to decide what to compute.

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma2,
    Gemma3,
    Phi3,
    SmolLm3,
}

/// A linear layer of a decoder layer, or, for those that lie in a stacked one, a range of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention output.
    O,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP.
    Up,
    /// Down projection of the MLP.
    Down,
    /// Queries, keys and values stacked in one linear layer.
    Qkv,
    /// Gate and up stacked in one linear layer.
    GateUp,
}

/// A norm of a decoder layer, by what it normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Input of attention.
    Input,
    /// Each head of the queries.
    Query,
    /// Each head of the keys.
    Key,
    /// Output of attention, before it is added to the residual.
    AttentionOutput,
    /// Input of the MLP.
    MlpInput,
    /// Output of the MLP, before it is added to the residual.
    MlpOutput,
}

/// What the gate of the MLP goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·σ(x).
    Silu,
    /// GELU by the tanh formula (torch's `approximate="tanh"`).
    GeluTanh,
}

/// One family.
#[derive(Debug)]
pub struct Facts {
    /// transformers' `model_type`.
    pub model_type: &'static str,
    /// transformers' class.
    pub architecture: &'static str,
    /// llama.cpp's `general.architecture`.
    pub gguf: &'static str,
    /// Whether GGUF permutes the rows of q and k.
    pub gguf_permuted: bool,
    /// The linear layers of a layer, in the order of the forward pass.
    pub projections: &'static [Projection],
    /// The norms of a layer and their module paths, in the order of the forward pass.
    pub norms: &'static [(Norm, &'static str)],
    /// What else a layer holds in transformers, without weights: an expression of PEFT's can match it.
    pub weightless: &'static [&'static str],
    /// What is added to the stored weight of a norm: Gemma stores γ − 1.
    pub norm_offset: f32,
    /// Of the MLP.
    pub activation: Activation,
    /// Whether embeddings are multiplied by √H.
    pub scaled_embedding: bool,
}

use Projection::{Down, Gate, GateUp, K, O, Q, Qkv, Up, V};

/// The seven projections that most families have.
const APART: &[Projection] = &[Q, K, V, O, Gate, Up, Down];
const STACKED: &[Projection] = &[Qkv, O, GateUp, Down];

const PRE: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::MlpInput, "post_attention_layernorm"),
];
const PRE_AND_HEADS: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::Query, "self_attn.q_norm"),
    (Norm::Key, "self_attn.k_norm"),
    (Norm::MlpInput, "post_attention_layernorm"),
];
const SANDWICH: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::AttentionOutput, "post_attention_layernorm"),
    (Norm::MlpInput, "pre_feedforward_layernorm"),
    (Norm::MlpOutput, "post_feedforward_layernorm"),
];
const SANDWICH_AND_HEADS: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::Query, "self_attn.q_norm"),
    (Norm::Key, "self_attn.k_norm"),
    (Norm::AttentionOutput, "post_attention_layernorm"),
    (Norm::MlpInput, "pre_feedforward_layernorm"),
    (Norm::MlpOutput, "post_feedforward_layernorm"),
];

const LLAMA: Facts = Facts {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    gguf: "llama",
    gguf_permuted: true,
    projections: APART,
    norms: PRE,
    weightless: &["mlp.act_fn"],
    norm_offset: 0.0,
    activation: Activation::Silu,
    scaled_embedding: false,
};
const MISTRAL: Facts = Facts {
    model_type: "mistral",
    architecture: "MistralForCausalLM",
    ..LLAMA
};
const QWEN2: Facts = Facts {
    model_type: "qwen2",
    architecture: "Qwen2ForCausalLM",
    gguf: "qwen2",
    gguf_permuted: false,
    ..LLAMA
};
const QWEN3: Facts = Facts {
    model_type: "qwen3",
    architecture: "Qwen3ForCausalLM",
    gguf: "qwen3",
    norms: PRE_AND_HEADS,
    ..QWEN2
};
const GEMMA2: Facts = Facts {
    model_type: "gemma2",
    architecture: "Gemma2ForCausalLM",
    gguf: "gemma2",
    gguf_permuted: false,
    projections: APART,
    norms: SANDWICH,
    weightless: &["mlp.act_fn"],
    norm_offset: 1.0,
    activation: Activation::GeluTanh,
    scaled_embedding: true,
};
const GEMMA3: Facts = Facts {
    model_type: "gemma3_text",
    architecture: "Gemma3ForCausalLM",
    gguf: "gemma3",
    norms: SANDWICH_AND_HEADS,
    ..GEMMA2
};
const PHI3: Facts = Facts {
    model_type: "phi3",
    architecture: "Phi3ForCausalLM",
    gguf: "phi3",
    projections: STACKED,
    weightless: &[
        "mlp.activation_fn",
        "resid_attn_dropout",
        "resid_mlp_dropout",
    ],
    ..QWEN2
};
const SMOLLM3: Facts = Facts {
    model_type: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    gguf: "smollm3",
    gguf_permuted: true,
    ..QWEN2
};

impl Family {
    /// All families.
    pub const ALL: [Self; 8] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::SmolLm3,
    ];

    /// What its models share.
    #[must_use]
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::Llama => &LLAMA,
            Self::Mistral => &MISTRAL,
            Self::Qwen2 => &QWEN2,
            Self::Qwen3 => &QWEN3,
            Self::Gemma2 => &GEMMA2,
            Self::Gemma3 => &GEMMA3,
            Self::Phi3 => &PHI3,
            Self::SmolLm3 => &SMOLLM3,
        }
    }

    /// The family of a `model_type`.
    #[must_use]
    pub fn of_model_type(model_type: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|f| f.facts().model_type == model_type)
    }

    /// The families, for a hint.
    pub(crate) fn names() -> String {
        Self::ALL.map(|f| f.facts().model_type).join(", ")
    }
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

    /// The linear layer in which a projection lies: itself, or the stacked one.
    #[must_use]
    pub fn linear_of(&self, projection: Projection) -> Projection {
        self.projections
            .iter()
            .copied()
            .find(|p| p.parts().contains(&projection))
            .unwrap_or(projection)
    }
}

impl Projection {
    /// All kinds of projections, in the order of [`Projection::index`].
    pub const ALL: [Self; 9] = [Q, K, V, O, Gate, Up, Down, Qkv, GateUp];

    /// Its place among the kinds.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Module path inside a layer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Q => "self_attn.q_proj",
            K => "self_attn.k_proj",
            V => "self_attn.v_proj",
            O => "self_attn.o_proj",
            Gate => "mlp.gate_proj",
            Up => "mlp.up_proj",
            Down => "mlp.down_proj",
            Qkv => "self_attn.qkv_proj",
            GateUp => "mlp.gate_up_proj",
        }
    }

    /// Module path in the model, e.g. `model.layers.3.mlp.up_proj`.
    #[must_use]
    pub fn path(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.name())
    }

    /// What its rows hold, in order: itself, or the stacked parts.
    #[must_use]
    pub const fn parts(self) -> &'static [Self] {
        match self {
            Q => &[Q],
            K => &[K],
            V => &[V],
            O => &[O],
            Gate => &[Gate],
            Up => &[Up],
            Down => &[Down],
            Qkv => &[Q, K, V],
            GateUp => &[Gate, Up],
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_all_seven_parts_once_and_its_own_name() {
        for family in Family::ALL {
            let facts = family.facts();
            let parts: Vec<Projection> = facts
                .projections
                .iter()
                .flat_map(|p| p.parts())
                .copied()
                .collect();
            assert_eq!(parts, APART, "{family:?}");
            assert!(
                parts
                    .iter()
                    .all(|&p| facts.linear_of(p).parts().contains(&p))
            );
            assert!(facts.norm(Norm::Input).is_some() && facts.norm(Norm::MlpInput).is_some());
            assert_eq!(Family::of_model_type(facts.model_type).unwrap(), family);
        }
    }
}
