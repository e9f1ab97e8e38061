//! LFM2: a short convolution between two gates in most layers, in the others attention whose q and k are normalised head by
//! head; the last norm is called that of the embedding.
use super::facts::{Facts, GgufFacts, JsonFacts, published};
use super::parts::{LFM2_NAMES, LFM2_NORMS, LFM2_RECURRENT, PLAIN, PLAIN_GGUF, PLAIN_JSON};

/// Layers with attention of the published models of 16 layers.
const ATTENTION: &[usize] = &[2, 5, 8, 10, 12, 14];

pub(super) const FACTS: Facts = Facts {
    model_type: "lfm2",
    architecture: "Lfm2ForCausalLM",
    recurrent: Some(LFM2_RECURRENT),
    names: LFM2_NAMES,
    norms: LFM2_NORMS,
    last_norm: "model.embedding_norm",
    weightless: &[],
    peft_targets: &[],
    json: JsonFacts {
        vocab_size: 65_536,
        hidden_size: 2560,
        intermediate_size: 12_288,
        num_key_value_heads: Some(8),
        max_position_embeddings: 128_000,
        norm_eps: ("norm_eps", 1e-5),
        rope_theta: 1_000_000.0,
        tie_word_embeddings: true,
        bos: Some(1),
        eos: &[2],
        pad: Some(0),
        block_width: true,
        tie_embedding: true,
        ..PLAIN_JSON
    },
    gguf: GgufFacts {
        architecture: "lfm2",
        last_norm: "token_embd_norm",
        ..PLAIN_GGUF
    },
    #[rustfmt::skip]
    published: &[
        published("lfm2-350m", [65_536, 1024, 4608], 16, [16, 8, 64], true).with_attention_in(ATTENTION),
        published("lfm2-700m", [65_536, 1536, 6912], 16, [24, 8, 64], true).with_attention_in(ATTENTION),
        published("lfm2-1.2b", [65_536, 2048, 8192], 16, [32, 8, 64], true).with_attention_in(ATTENTION),
    ],
    ..PLAIN
};
