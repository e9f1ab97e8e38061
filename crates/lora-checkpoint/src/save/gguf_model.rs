//! A model as GGUF: which tensors in which dtype, and the metadata that llama.cpp's converter writes.
use super::gguf::{GgufDtype, GgufTensor, write_gguf};
use crate::error::{Error, invalid};
use crate::gguf::{Value, names};
use crate::view::{TensorView, hugging_face_row};
use crate::{Checkpoint, Format, ModelConfig, rope};
use std::path::Path;

/// Writes `model` as one GGUF file that llama.cpp runs, with tokenizer and chat template. 1-D weights stay f32, as
/// llama.cpp has them; a matrix whose rows are no whole number of Q8_0 blocks is written as f16. `progress` is called
/// with the number of values written since the last call. Returns what was not done as asked, a line each.
pub fn save_gguf<E: From<Error>>(
    path: &Path,
    model: &Checkpoint,
    dtype: GgufDtype,
    name: &str,
    mut progress: impl FnMut(u64) -> Result<(), E>,
) -> Result<Vec<String>, E> {
    model.refuse_own_file(path)?;
    let mut warnings = Vec::new();
    let metadata = metadata(model, dtype, name, &mut warnings)?;
    let (tensors, sources) = plan(model, dtype, &mut warnings)?;
    let factors = rope::factors(&model.config().rope_scaling, model.config().rope_theta, model.config().head_dim);
    write_gguf(path, &metadata, &tensors, |index, first, rows| {
        match &sources[index] {
            Some(source) => read_permuted(source, model.config().head_dim, first, rows),
            None => rows.copy_from_slice(factors.as_deref().unwrap_or_default()),
        }
        progress(rows.len() as u64)
    })?;
    Ok(warnings)
}

/// The tensors of the file, and where each comes from (None: the rope factors).
fn plan<'a>(
    model: &'a Checkpoint,
    dtype: GgufDtype,
    warnings: &mut Vec<String>,
) -> Result<(Vec<GgufTensor>, Vec<Option<TensorView<'a>>>), Error> {
    let (mut tensors, mut sources) = (Vec::new(), Vec::new());
    if model.config().rope_scaling != crate::RopeScaling::None {
        let shape = vec![model.config().head_dim / 2];
        tensors.push(GgufTensor { name: "rope_freqs.weight".to_owned(), shape, dtype: GgufDtype::F32 });
        sources.push(None);
    }
    let mut fallen_back = 0;
    for (name, shape) in model.config().weights() {
        let view = model.tensor(&name)?;
        let mut dtype = if shape.len() == 1 { GgufDtype::F32 } else { dtype };
        if dtype == GgufDtype::Q8_0 && view.columns() % 32 != 0 {
            dtype = GgufDtype::F16;
            fallen_back += 1;
        }
        let name =
            names::to_gguf(&name).ok_or_else(|| invalid(model.path(), format!("tensor {name} has no GGUF name")))?;
        tensors.push(GgufTensor { name, shape, dtype });
        sources.push(Some(view));
    }
    if fallen_back > 0 {
        warnings.push(format!(
            "{fallen_back} matrices are f16, not q8_0: their rows are no whole number of 32-value blocks"
        ));
    }
    Ok((tensors, sources))
}

/// Rows in GGUF's order: row g of the file is Hugging Face row `hugging_face_row(g)`.
fn read_permuted(source: &TensorView<'_>, head_dim: usize, first: usize, rows: &mut [f32]) {
    if !names::is_permuted(source.name()) {
        return source.read_rows(first, rows);
    }
    if source.shape().len() == 1 {
        let values = source.to_f32();
        for (i, value) in rows.iter_mut().enumerate() {
            *value = values[hugging_face_row(i, head_dim)];
        }
    } else {
        for (i, row) in rows.chunks_exact_mut(source.columns()).enumerate() {
            source.read_rows(hugging_face_row(first + i, head_dim), row);
        }
    }
}

/// Everything but the tensors, in the order of llama.cpp's converter.
fn metadata(
    model: &Checkpoint,
    dtype: GgufDtype,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, Value)>, Error> {
    let config = model.config();
    let mut all = match model.format() {
        Format::Gguf => carried(model, "general."),
        Format::HuggingFace => vec![
            pair("general.architecture", text("llama")),
            pair("general.type", text("model")),
            pair("general.name", text(name)),
            pair("general.size_label", text(&size_label(parameters(config)))),
        ],
    };
    all.extend(decoder(config));
    all.push(pair("general.file_type", Value::U32(dtype.file_type())));
    all.push(pair("general.quantization_version", Value::U32(2)));
    match model.format() {
        Format::Gguf => all.extend(carried(model, "tokenizer.")),
        Format::HuggingFace => {
            let tokenizer = model.tokenizer()?;
            let (entries, warning) = tokenizer.to_gguf(config).map_err(|m| invalid(model.path(), m))?;
            all.extend(entries);
            warnings.extend(warning);
        }
    }
    Ok(all)
}

/// A GGUF source's own entries, but for those that describe its storage.
fn carried(model: &Checkpoint, prefix: &str) -> Vec<(String, Value)> {
    let storage = ["general.file_type", "general.quantization_version", "general.alignment"];
    let keep = |key: &str| key.starts_with(prefix) && !storage.contains(&key);
    model.all_metadata().filter(|(key, _)| keep(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn decoder(config: &ModelConfig) -> Vec<(String, Value)> {
    let size = |key: &str, n: usize| pair(&format!("llama.{key}"), Value::U32(n as u32));
    vec![
        size("block_count", config.num_hidden_layers),
        size("context_length", config.max_position_embeddings),
        size("embedding_length", config.hidden_size),
        size("feed_forward_length", config.intermediate_size),
        size("attention.head_count", config.num_attention_heads),
        size("attention.head_count_kv", config.num_key_value_heads),
        pair("llama.rope.freq_base", Value::F32(config.rope_theta as f32)),
        pair("llama.attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps as f32)),
        size("attention.key_length", config.head_dim),
        size("attention.value_length", config.head_dim),
        size("vocab_size", config.vocab_size),
        size("rope.dimension_count", config.head_dim),
    ]
}

/// Parameters of the model; a tied head counts once.
fn parameters(config: &ModelConfig) -> usize {
    config.weights().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// "135M", "1.1B": gguf-py's `model_weight_count_rounded_notation`.
fn size_label(parameters: usize) -> String {
    let n = parameters as f64;
    let (scaled, suffix) = match n {
        n if n > 1e12 => (n * 1e-12, "T"),
        n if n > 1e9 => (n * 1e-9, "B"),
        n if n > 1e6 => (n * 1e-6, "M"),
        n => (n * 1e-3, "K"),
    };
    let decimals = if scaled.round() >= 10.0 { 0 } else { 1 };
    format!("{scaled:.decimals$}{suffix}")
}

fn pair(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}
