//! Names of tensors and of some keys: llama.cpp's for what a weight is. Architectures share them; which tensors a model has is its config's.
use crate::Projection;
use crate::families::{
    DeltaPart, Facts, MambaPart, Norm, NormKind, XIELU_BETA, XIELU_EPS, XieluNumber,
};
use crate::weights::Part;

/// llama.cpp's name of a part of a model.
pub(crate) fn tensor(facts: &Facts, part: Part) -> String {
    match part {
        Part::Embedding => "token_embd.weight".to_owned(),
        Part::FinalNorm => format!("{}.weight", facts.gguf.last_norm),
        Part::FinalNormBias => format!("{}.bias", facts.gguf.last_norm),
        Part::Head => "output.weight".to_owned(),
        Part::Norm(_, Norm::PerLayerInput) => "per_layer_proj_norm.weight".to_owned(),
        Part::Linear(_, Projection::PerLayerModel) => "per_layer_model_proj.weight".to_owned(),
        Part::Norm(layer, norm) if facts.gguf.bare_norms.contains(&norm) => {
            format!("blk.{layer}.{}", of_norm(facts, norm))
        }
        Part::Norm(layer, norm) => format!("blk.{layer}.{}.weight", of_norm(facts, norm)),
        Part::NormBias(layer, norm) => format!("blk.{layer}.{}.bias", of_norm(facts, norm)),
        Part::Xielu(_, number) => xielu_key(number).to_owned(),
        Part::ShortConv(layer) => format!("blk.{layer}.shortconv.conv.weight"),
        Part::Delta(layer, part) => format!("blk.{layer}.{}", of_delta(part)),
        Part::Mamba(layer, part) => format!("blk.{layer}.{}", of_mamba(part)),
        Part::Linear(layer, projection) => {
            format!("blk.{layer}.{}.weight", of_projection(projection))
        }
        Part::Shared(layer, projection) => {
            format!("blk.{layer}.{}_shexp.weight", of_projection(projection))
        }
        Part::Bias(layer, projection) => format!("blk.{layer}.{}.bias", of_projection(projection)),
        Part::PerLayerEmbedding => "per_layer_token_embd.weight".to_owned(),
        Part::OutputScale(layer) => format!("blk.{layer}.layer_output_scale.weight"),
        Part::Router(layer) => format!("blk.{layer}.ffn_gate_inp.weight"),
        Part::RouterBias(layer) => format!("blk.{layer}.ffn_gate_inp.bias"),
        Part::ChoiceBias(layer) => format!("blk.{layer}.exp_probs_b.bias"),
        // Those of all experts lie in one tensor.
        Part::Expert(layer, _, projection) => {
            format!("blk.{layer}.{}_exps.weight", of_projection(projection))
        }
        Part::ExpertBias(layer, _, projection) => {
            format!("blk.{layer}.{}_exps.bias", of_projection(projection))
        }
        Part::Sinks(layer) => format!("blk.{layer}.attn_sinks.weight"),
    }
}

/// The key of the norms' ε.
pub(crate) fn norm_eps_key(facts: &Facts) -> &'static str {
    match facts.norm_kind {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer { .. } => "attention.layer_norm_epsilon",
    }
}

/// The key of what xIELU learns: in GGUF it is no tensor, but a list among the metadata, one number a layer.
pub(crate) fn xielu_key(number: XieluNumber) -> &'static str {
    match number {
        XieluNumber::AlphaP => "xielu.alpha_p",
        XieluNumber::AlphaN => "xielu.alpha_n",
    }
}

/// The keys of xIELU's constants β and ε, lists as well.
pub(crate) const XIELU_CONSTANTS: [(&str, f32); 2] =
    [("xielu.beta", XIELU_BETA), ("xielu.eps", XIELU_EPS)];

fn of_norm(facts: &Facts, norm: Norm) -> &'static str {
    let own = facts.gguf.norm_names.iter().find(|(n, _)| *n == norm);
    if let Some((_, name)) = own {
        return name;
    }
    match norm {
        Norm::Input => "attn_norm",
        Norm::Query => "attn_q_norm",
        Norm::Key => "attn_k_norm",
        Norm::AttentionOutput => "post_attention_norm",
        Norm::MlpInput => "ffn_norm",
        Norm::MlpOutput => "post_ffw_norm",
        Norm::PerLayerInput => "per_layer_proj_norm",
        Norm::PerLayerOutput => "post_norm",
    }
}

/// Phi-3's stacked gate and up lie under the name of up.
fn of_projection(projection: Projection) -> &'static str {
    match projection {
        Projection::Q | Projection::QGate | Projection::OutputGate => "attn_q",
        Projection::K => "attn_k",
        Projection::V => "attn_v",
        Projection::Qkv | Projection::DeltaQkv => "attn_qkv",
        Projection::O => "attn_output",
        Projection::Gate => "ffn_gate",
        Projection::Up | Projection::GateUp => "ffn_up",
        Projection::Down => "ffn_down",
        Projection::DeltaZ => "attn_gate",
        Projection::DeltaB => "ssm_beta",
        Projection::DeltaA => "ssm_alpha",
        Projection::DeltaOut => "ssm_out",
        Projection::ConvIn => "shortconv.in_proj",
        Projection::ConvOut => "shortconv.out_proj",
        Projection::MambaIn | Projection::MambaZ | Projection::MambaXbc | Projection::MambaDt => {
            "ssm_in"
        }
        Projection::MambaOut => "ssm_out",
        Projection::PerLayerModel => "per_layer_model_proj",
        Projection::PerLayerGate => "inp_gate",
        Projection::PerLayerOut => "proj",
    }
}

/// The name in a layer of what a recurrent layer learns beside its linear layers.
fn of_delta(part: DeltaPart) -> &'static str {
    match part {
        DeltaPart::Convolution => "ssm_conv1d.weight",
        DeltaPart::DecayLog => "ssm_a",
        DeltaPart::StepBias => "ssm_dt.bias",
        DeltaPart::Norm => "ssm_norm.weight",
    }
}

/// The same of a layer of Mamba-2.
fn of_mamba(part: MambaPart) -> &'static str {
    match part {
        MambaPart::Convolution => "ssm_conv1d.weight",
        MambaPart::ConvolutionBias => "ssm_conv1d.bias",
        MambaPart::DecayLog => "ssm_a",
        MambaPart::StepBias => "ssm_dt.bias",
        MambaPart::Skip => "ssm_d",
        MambaPart::Norm => "ssm_norm.weight",
    }
}

/// True for the q and k projections' weights and biases, whose rows some architectures permute.
pub(crate) fn is_query_or_key(part: Part) -> bool {
    matches!(
        part,
        Part::Linear(_, Projection::Q | Projection::K)
            | Part::Bias(_, Projection::Q | Projection::K)
    )
}
