//! What was written is opened again, and its configuration compared field by field with what it should say.
use crate::error::{Error, invalid};
use crate::{Chat, Checkpoint, Format, LayerSpec, ModelConfig, Rope};
use std::path::Path;

/// Opens what was written; a field that differs from `expected`, or another chat template or system text, is an error
/// that names it.
pub(super) fn verify(path: &Path, expected: &ModelConfig, chat: &Chat) -> Result<(), Error> {
    let written = Checkpoint::open(path)?;
    let mut found = differences(written.config(), expected);
    let written_chat = written.chat()?;
    if written_chat != *chat {
        let (would_be, is) = (written_chat.describe(), chat.describe());
        found.push(format!("it would have {would_be}, not {is}"));
    }
    let Some(first) = found.first() else {
        return Ok(());
    };
    let format = match written.format() {
        Format::Gguf => "a GGUF file",
        Format::HuggingFace => "config.json",
    };
    Err(invalid(
        path,
        format!("{format} can't say what this model is: {first}"),
    )
    .hint("the output would be another model, and was not kept; use another format"))
}

/// The fields in which two configurations differ, beyond the rounding of real numbers to f32.
pub(super) fn differences(written: &ModelConfig, expected: &ModelConfig) -> Vec<String> {
    let ModelConfig {
        family,
        vocab_size,
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        norm_eps,
        ropes,
        layers,
        delta,
        short_conv,
        mamba,
        query_pre_attn_scalar,
        multipliers,
        factors,
        attention_softcap,
        logit_softcap,
        tie_word_embeddings,
        max_position_embeddings,
        biases,
        experts,
        router_aux_loss: _,
        variants,
        bos_token_id,
        eos_token_ids,
        pad_token_id,
    } = expected;
    let w = written;
    let mut found = Found::default();
    found.size("vocab_size", w.vocab_size, *vocab_size);
    found.size("hidden_size", w.hidden_size, *hidden_size);
    found.size("intermediate_size", w.intermediate_size, *intermediate_size);
    found.size("num_hidden_layers", w.num_hidden_layers, *num_hidden_layers);
    found.size(
        "num_attention_heads",
        w.num_attention_heads,
        *num_attention_heads,
    );
    found.size(
        "num_key_value_heads",
        w.num_key_value_heads,
        *num_key_value_heads,
    );
    found.size("head_dim", w.head_dim, *head_dim);
    found.size(
        "max_position_embeddings",
        w.max_position_embeddings,
        *max_position_embeddings,
    );
    found.real("the ε of the norms", Some(w.norm_eps), Some(*norm_eps));
    let (own, named) = (&w.multipliers, multipliers);
    found.real(
        "embedding_multiplier",
        Some(own.embedding),
        Some(named.embedding),
    );
    found.real("attention_multiplier", own.attention, named.attention);
    found.real(
        "residual_multiplier",
        Some(own.residual),
        Some(named.residual),
    );
    found.real("logits_scaling", Some(own.logits), Some(named.logits));
    for ((key, own), (_, named)) in w.factors.named().into_iter().zip(factors.named()) {
        found.real(key, Some(own), Some(named));
    }
    found.real(
        "query_pre_attn_scalar",
        Some(w.query_pre_attn_scalar),
        Some(*query_pre_attn_scalar),
    );
    found.real(
        "attn_logit_softcapping",
        w.attention_softcap,
        *attention_softcap,
    );
    found.real("final_logit_softcapping", w.logit_softcap, *logit_softcap);
    found.other("the heads of linear attention", &w.delta, delta);
    found.other("the short convolution", &w.short_conv, short_conv);
    found.other("the heads of Mamba-2", &w.mamba, mamba);
    found.other("model_type", &w.family, family);
    found.other(
        "tie_word_embeddings",
        &w.tie_word_embeddings,
        tie_word_embeddings,
    );
    found.other("biases", &w.biases, biases);
    found.other("experts", &w.experts, experts);
    found.other("heads and inputs of layers", &w.variants, variants);
    found.other("bos_token_id", &w.bos_token_id, bos_token_id);
    found.other("pad_token_id", &w.pad_token_id, pad_token_id);
    found.other(
        "eos_token_id",
        &sorted(&w.eos_token_ids),
        &sorted(eos_token_ids),
    );
    found.layers(&w.layers, layers);
    found.ropes(&w.ropes, ropes);
    found.0
}

fn sorted(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

/// Differences, a line each.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn other<T: PartialEq + std::fmt::Debug>(&mut self, field: &str, written: &T, expected: &T) {
        if written != expected {
            self.0
                .push(format!("{field} would be {written:?}, not {expected:?}"));
        }
    }

    fn size(&mut self, field: &str, written: usize, expected: usize) {
        self.other(field, &written, &expected);
    }

    fn real(&mut self, field: &str, written: Option<f64>, expected: Option<f64>) {
        let same = match (written, expected) {
            (Some(a), Some(b)) => close(a, b, 1e-6),
            (a, b) => a == b,
        };
        if !same {
            let text = |x: Option<f64>| x.map_or("none".to_owned(), |x| x.to_string());
            let (written, expected) = (text(written), text(expected));
            self.0
                .push(format!("{field} would be {written}, not {expected}"));
        }
    }

    fn layers(&mut self, written: &[LayerSpec], expected: &[LayerSpec]) {
        for (layer, (written, expected)) in written.iter().zip(expected).enumerate() {
            if written != expected {
                self.other(
                    &format!("the window of layer {layer}"),
                    &written.window,
                    &expected.window,
                );
                self.other(
                    &format!("the rotary embedding of layer {layer}"),
                    &written.rope,
                    &expected.rope,
                );
                self.other(
                    &format!("what mixes the tokens of layer {layer}"),
                    &written.mixer,
                    &expected.mixer,
                );
                self.other(
                    &format!("whether attention stands beside that in layer {layer}"),
                    &written.beside_attention,
                    &expected.beside_attention,
                );
                self.other(
                    &format!("whether layer {layer} has experts"),
                    &written.experts,
                    &expected.experts,
                );
                return;
            }
        }
    }

    /// Rotary embeddings are the same if they compute the same, at every length.
    fn ropes(&mut self, written: &[Rope], expected: &[Rope]) {
        self.other(
            "the number of rotary embeddings",
            &written.len(),
            &expected.len(),
        );
        for (written, expected) in written.iter().zip(expected) {
            self.other("the rotated part of a head", &written.dim, &expected.dim);
            self.other("the growth of queries", &written.growth, &expected.growth);
            self.real(
                "the rotary attention factor",
                Some(written.attention_factor()),
                Some(expected.attention_factor()),
            );
            let (lengths, wanted) = (written.changes_beyond(), expected.changes_beyond());
            self.other("the length at which frequencies change", &lengths, &wanted);
            let beyond = wanted.map(|length| 4 * length);
            for length in [Some(1), beyond].into_iter().flatten() {
                let written = written.inverse_frequencies(written.variant(length));
                let expected = expected.inverse_frequencies(expected.variant(length));
                let mut pairs = written.iter().zip(&expected);
                let other = pairs.position(|(&a, &b)| !close(a.into(), b.into(), 1e-5));
                if let Some(pair) = other {
                    let (a, b) = (written[pair], expected[pair]);
                    self.0
                        .push(format!("rotary frequency {pair} would be {a}, not {b}"));
                }
            }
        }
    }
}

fn close(a: f64, b: f64, relative: f64) -> bool {
    (a - b).abs() <= relative * a.abs().max(b.abs())
}
