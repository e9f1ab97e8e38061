//! Parts that families share: lists of linear layers and norms, and the facts of a plain decoder, from which every family
//! says where it differs.
use super::experts::{ExpertFacts, ExpertLayers, Normalised, Scores, Stacked};
use super::facts::{
    Activation, BiasKey, Block, Facts, GgufCap, GgufFacts, GgufWindows, HeadNorms, JsonFacts, Mlp,
    Norm, NormKind, RopeInWindows, RotaryPairs, Sliding, SmallValues, SoftCap, Unloaded,
};
use super::mixers::{Recurrent, RecurrentKind, ShortConv};
use crate::projection::Projection::{
    self, ConvIn, ConvOut, Down, Gate, GateUp, K, O, Q, Qkv, Up, V,
};

/// The seven linear layers, each for itself.
pub(super) const APART: &[Projection] = &[Q, K, V, O, Gate, Up, Down];
/// The same without a gate.
pub(super) const WITHOUT_GATE: &[Projection] = &[Q, K, V, O, Up, Down];
/// gate and up in one.
pub(super) const GATE_UP_STACKED: &[Projection] = &[Q, K, V, O, GateUp, Down];
/// q, k and v in one, gate and up in one.
pub(super) const STACKED: &[Projection] = &[Qkv, O, GateUp, Down];

/// A norm before attention and one before the MLP.
pub(super) const BEFORE: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::MlpInput, "post_attention_layernorm"),
];
/// The same, and queries and keys head by head.
pub(super) const BEFORE_AND_HEADS: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::Query, "self_attn.q_norm"),
    (Norm::Key, "self_attn.k_norm"),
    (Norm::MlpInput, "post_attention_layernorm"),
];
/// A norm after attention and one after the MLP, of queries and keys, and none before.
pub(super) const AFTER_AND_HEADS: &[(Norm, &str)] = &[
    (Norm::Query, "self_attn.q_norm"),
    (Norm::Key, "self_attn.k_norm"),
    (Norm::AttentionOutput, "post_attention_layernorm"),
    (Norm::MlpOutput, "post_feedforward_layernorm"),
];
/// Norms before and after attention and MLP.
pub(super) const AROUND: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::AttentionOutput, "post_attention_layernorm"),
    (Norm::MlpInput, "pre_feedforward_layernorm"),
    (Norm::MlpOutput, "post_feedforward_layernorm"),
];
/// The same, and queries and keys head by head.
pub(super) const AROUND_AND_HEADS: &[(Norm, &str)] = &[
    (Norm::Input, "input_layernorm"),
    (Norm::Query, "self_attn.q_norm"),
    (Norm::Key, "self_attn.k_norm"),
    (Norm::AttentionOutput, "post_attention_layernorm"),
    (Norm::MlpInput, "pre_feedforward_layernorm"),
    (Norm::MlpOutput, "post_feedforward_layernorm"),
];

/// `attention_bias`, which most families go without: biases on q, k, v and on the output, if both take it.
pub(super) const ATTENTION_BIAS: BiasKey = BiasKey::Read("attention_bias", false);
/// `mlp_bias`.
pub(super) const MLP_BIAS: BiasKey = BiasKey::Read("mlp_bias", false);

/// What PEFT targets where nothing is said, in most families that it knows.
pub(super) const QUERY_AND_VALUE: &[&str] = &["q_proj", "v_proj"];

/// Experts as Granite's families have them: stacked in the files, under another path than their modules'.
pub(super) const GRANITE_EXPERTS: ExpertFacts = ExpertFacts {
    router: "block_sparse_moe.router.layer",
    path: "block_sparse_moe.experts",
    names: ["gate_proj", "up_proj", "down_proj"],
    weightless: &["block_sparse_moe.experts.act_fn"],
    biased: false,
    clamp: None,
    modules: Some(["block_sparse_moe.router", "block_sparse_moe.experts"]),
    stacked: Some(Stacked::Rows([
        "block_sparse_moe.input_linear.weight",
        "block_sparse_moe.output_linear.weight",
    ])),
    are_parameters: false,
    count: (&["num_local_experts"], 8),
    chosen: 2,
    width: ("intermediate_size", 11_008),
    router_aux_loss: 0.001,
    scores: Scores::Softmax,
    choice_bias: None,
    normalised: Normalised::Always,
    scaled: false,
    shared: None,
    own_width_key: false,
    layers: ExpertLayers::All,
};

/// The MLP beside them, or alone.
pub(super) const GRANITE_SHARED: &[(Projection, &str)] = &[
    (GateUp, "shared_mlp.input_linear"),
    (Down, "shared_mlp.output_linear"),
];

/// Layers of a short convolution, as LFM2's families have them.
pub(super) const LFM2_RECURRENT: Recurrent = Recurrent {
    projections: &[ConvIn, ConvOut, Gate, Up, Down],
    kind: RecurrentKind::ShortConv(ShortConv { taps: 3 }),
    beside_attention: false,
};

/// Their linear layers.
pub(super) const LFM2_NAMES: &[(Projection, &str)] = &[
    (O, "self_attn.out_proj"),
    (Gate, "feed_forward.w1"),
    (Up, "feed_forward.w3"),
    (Down, "feed_forward.w2"),
];

/// Their norms.
pub(super) const LFM2_NORMS: &[(Norm, &str)] = &[
    (Norm::Input, "operator_norm"),
    (Norm::Query, "self_attn.q_layernorm"),
    (Norm::Key, "self_attn.k_layernorm"),
    (Norm::MlpInput, "ffn_norm"),
];

/// A plain decoder: seven linear layers without biases, a norm before attention and MLP, SiLU, full attention, one rotary
/// embedding. Its names are a family's own to say.
pub(super) const PLAIN: Facts = Facts {
    model_type: "",
    architecture: "",
    projections: APART,
    recurrent: None,
    names: &[],
    norms: BEFORE,
    last_norm: "model.norm",
    weightless: &["mlp.act_fn"],
    norm_kind: NormKind::Rms,
    block: Block::Sequential,
    head_norms: HeadNorms::EachHead,
    rotary_pairs: RotaryPairs::Halves,
    normalised_values: false,
    output_scale: None,
    sinks: None,
    attention_scale: None,
    norm_offset: 0.0,
    mlp: Mlp::Gated(Activation::Silu),
    experts: None,
    scaled_embedding: false,
    peft_targets: QUERY_AND_VALUE,
    unadapted: &[],
    unread_weights: &[],
    json: PLAIN_JSON,
    gguf: PLAIN_GGUF,
    published: &[],
};

/// config.json of a plain decoder.
pub(super) const PLAIN_JSON: JsonFacts = JsonFacts {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: None,
    head_dim: None,
    max_position_embeddings: 2048,
    norm_eps: ("rms_norm_eps", 1e-6),
    rope_theta: 10_000.0,
    tie_word_embeddings: false,
    bos: None,
    eos: &[],
    pad: None,
    activation: "hidden_act",
    activation_names: &[],
    qkv_bias: BiasKey::Never,
    output_bias: BiasKey::Never,
    mlp_bias: BiasKey::Never,
    multipliers: false,
    logit_scale: None,
    query_pre_attn_scalar: None,
    attention_softcap: SoftCap::Absent,
    logit_softcap: SoftCap::Absent,
    sliding: Sliding::Never,
    partial_rotary_factor: None,
    sectioned_rope: false,
    rope_types: &[],
    local_rope: None,
    no_rope_interval: None,
    rope_in_windows: RopeInWindows::Never,
    rope_alpha: false,
    default_rope: None,
    proportional_rope: None,
    variants: None,
    block_width: false,
    tie_embedding: false,
    rope_switch: false,
    factors: false,
    mamba_width: None,
    query_growth: false,
    unsupported: &[],
};

/// What llama.cpp's loader of OLMo 2 and 3 does not know.
pub(super) const OLMO_UNLOADED: &[Unloaded] = &[
    Unloaded::OutputBias,
    Unloaded::TiedHead,
    Unloaded::WideHeads,
    Unloaded::RopeFactors,
];

/// GGUF of a plain decoder.
pub(super) const PLAIN_GGUF: GgufFacts = GgufFacts {
    architecture: "",
    stateless: None,
    marked_by_window: false,
    told_by_name: false,
    permuted: false,
    gate_up_apart: false,
    folds_factors: false,
    norm_names: &[],
    bare_norms: &[],
    last_norm: "output_norm",
    windows: GgufWindows::Never,
    default_window: None,
    no_rope_every: None,
    attention_softcap: GgufCap::Never,
    logit_softcap: GgufCap::Never,
    partial_rotary: false,
    own_head: true,
    unloaded: &[
        Unloaded::OutputBias,
        Unloaded::MlpBias,
        Unloaded::RopeFactors,
    ],
    unapplied: &[],
    small_values: SmallValues::Never,
    unrounded_yarn: false,
    shared_scalar_layers: None,
};
