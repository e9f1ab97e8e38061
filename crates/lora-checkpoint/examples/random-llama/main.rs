//! Writes a Llama of random weights in Q4_0, to measure training on a large model where none can be downloaded:
//! `random-llama TOKENIZER.gguf OUT.gguf [LAYERS [HIDDEN [INTERMEDIATE [HEADS]]]]`; the shape defaults to Llama-2-7B's (a file
//! of about 4 GB), the vocabulary and the chat template are those of the first file.
use lora_checkpoint::gguf::{GgufFile, Value};
use lora_checkpoint::{Error, GgufDtype, GgufTensor, write_gguf};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, out, sizes @ ..] = &arguments[..] else {
        return Err(
            "usage: random-llama TOKENIZER.gguf OUT.gguf [LAYERS [HIDDEN [INTERMEDIATE [HEADS]]]]"
                .into(),
        );
    };
    let size =
        |index: usize, default: usize| sizes.get(index).map_or(Ok(default), |text| text.parse());
    let (layers, hidden, intermediate, heads) =
        (size(0, 32)?, size(1, 4096)?, size(2, 11_008)?, size(3, 32)?);
    let tokenizer = GgufFile::open(Path::new(tokenizer))?;
    let embedding = tokenizer
        .tensor("token_embd.weight")
        .ok_or("the first file is no model: it has no token_embd.weight")?;
    let vocabulary = embedding.shape()[0];

    let mut metadata = vec![(
        "general.architecture".to_owned(),
        Value::String("llama".to_owned()),
    )];
    let integers = [
        ("block_count", layers),
        ("context_length", 4096),
        ("embedding_length", hidden),
        ("feed_forward_length", intermediate),
        ("attention.head_count", heads),
        ("attention.head_count_kv", heads),
        ("rope.dimension_count", hidden / heads),
        ("vocab_size", vocabulary),
    ];
    metadata.extend(integers.map(|(key, n)| (format!("llama.{key}"), Value::U32(n as u32))));
    metadata.push((
        "llama.attention.layer_norm_rms_epsilon".to_owned(),
        Value::F32(1e-5),
    ));
    let own = tokenizer
        .all_metadata()
        .filter(|(key, _)| key.starts_with("tokenizer."));
    metadata.extend(own.map(|(key, value)| (key.to_owned(), value.clone())));

    let matrix = |name: String, out: usize, inn: usize| GgufTensor {
        name,
        shape: vec![out, inn],
        dtype: GgufDtype::Q4_0,
    };
    let norm = |name: String| GgufTensor {
        name,
        shape: vec![hidden],
        dtype: GgufDtype::F32,
    };
    let mut tensors = vec![matrix("token_embd.weight".to_owned(), vocabulary, hidden)];
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.extend(["attn_norm", "ffn_norm"].map(|part| norm(name(part))));
        tensors.extend(
            ["attn_q", "attn_k", "attn_v", "attn_output"]
                .map(|part| matrix(name(part), hidden, hidden)),
        );
        tensors.extend(["ffn_gate", "ffn_up"].map(|part| matrix(name(part), intermediate, hidden)));
        tensors.push(matrix(name("ffn_down"), hidden, intermediate));
    }
    tensors.extend([
        norm("output_norm.weight".to_owned()),
        matrix("output.weight".to_owned(), vocabulary, hidden),
    ]);

    // Values of about the size that trained weights have, from one table read at another place for every row.
    let table: Vec<f32> = (0..1 << 16)
        .map(|i| 0.035 * (2.0 * (mix(i) >> 40) as f32 / (1u64 << 24) as f32 - 1.0))
        .collect();
    write_gguf(
        Path::new(out),
        &metadata,
        &tensors,
        |index, first, rows| -> Result<(), Error> {
            if tensors[index].shape.len() == 1 {
                rows.fill(1.0);
                return Ok(());
            }
            let columns = tensors[index].shape[1];
            for (row, values) in rows.chunks_exact_mut(columns).enumerate() {
                let at = mix(((index as u64) << 32) + (first + row) as u64) as usize;
                values
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, v)| *v = table[(at + i) % table.len()]);
            }
            Ok(())
        },
    )?;
    Ok(())
}

/// splitmix64's finaliser.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
