//! Tensor names: llama.cpp's for the llama architecture ↔ Hugging Face's.

/// Names outside the layers: (GGUF, Hugging Face).
const MODEL: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Modules of a layer: (GGUF after `blk.N.`, Hugging Face after `model.layers.N.`), each with `.weight` or `.bias`.
const LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// `blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`.
pub(crate) fn to_hugging_face(name: &str) -> Option<String> {
    translate(name, "blk.", "model.layers.", |(from, to)| (from, to))
}

/// `model.layers.0.self_attn.q_proj.weight` → `blk.0.attn_q.weight`.
pub(crate) fn to_gguf(name: &str) -> Option<String> {
    translate(name, "model.layers.", "blk.", |(from, to)| (to, from))
}

fn translate(
    name: &str,
    prefix: &str,
    new_prefix: &str,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Option<String> {
    if let Some((_, to)) = MODEL.into_iter().map(direction).find(|(from, _)| *from == name) {
        return Some(to.to_owned());
    }
    let (layer, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    layer.parse::<u32>().ok()?;
    let (module, kind) = rest.rsplit_once('.')?;
    let (_, to) = LAYER.into_iter().map(direction).find(|(from, _)| *from == module)?;
    matches!(kind, "weight" | "bias").then(|| format!("{new_prefix}{layer}.{to}.{kind}"))
}

/// True for the q and k projections' weights and biases (Hugging Face name), whose rows GGUF permutes.
pub(crate) fn is_permuted(name: &str) -> bool {
    [".self_attn.q_proj.", ".self_attn.k_proj."].iter().any(|m| name.contains(m))
}
