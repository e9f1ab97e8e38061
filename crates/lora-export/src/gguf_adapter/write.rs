//! An adapter → a GGUF LoRA, as llama.cpp's convert_lora_to_gguf.py writes it.
use super::mixtures;
use super::read::transposed;
use crate::model::size;
use crate::output::{Output, name};
use crate::{Args, Dtype};
use lora_checkpoint::gguf::Value as Meta;
use lora_checkpoint::{Checkpoint, GgufDtype, GgufTensor, gguf, write_gguf};
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use serde_json::{Value, json};

/// One matrix of the file.
struct Factor {
    values: Vec<f32>,
    columns: usize,
}

/// Writes A and B of every module. llama.cpp scales by alpha / rank with one alpha a file: alpha = scaling · rank of the
/// first module is exact for α/r and for α/√r; a module with another scaling has the rest folded into its B. `chat` are the
/// metadata that say how the rows' chats are written.
pub(crate) fn write(
    args: &Args,
    base: &Checkpoint,
    adapter: &Adapter,
    chat: Vec<(String, Meta)>,
    output: &Output,
    ui: &Ui,
) -> Result<Value> {
    let first = adapter
        .modules
        .first()
        .ok_or_else(|| Error::new("the adapter has no modules"))?;
    // An alpha of 0 is none to llama.cpp, which then scales by 1: what is scaled by 0 has a B of zeros.
    let alpha = match first.scaling {
        0.0 => first.rank as f32,
        scaling => scaling * first.rank as f32,
    };
    let dtype = args
        .dtype
        .and_then(Dtype::gguf_float)
        .unwrap_or(GgufDtype::F32);
    let (mut tensors, mut factors) = (Vec::new(), Vec::new());
    for (index, module) in adapter.modules.iter().enumerate() {
        let fold = module.scaling / (alpha / module.rank as f32);
        if let Some(parts) = mixtures::parts(base.config(), &module.path)? {
            let all = mixtures::factors(module, adapter.factors(index), &parts);
            for (name, shape, mut values) in all {
                if name.ends_with(".lora_b") {
                    fold_into(&mut values, fold);
                }
                let columns = shape.last().copied().unwrap_or(1);
                factors.push(Factor { values, columns });
                tensors.push(GgufTensor { name, shape, dtype });
            }
            continue;
        }
        let weight = format!("{}.weight", module.path);
        let target = gguf::tensor_name(base.config(), &weight).ok_or_else(|| {
            Error::new(format!("GGUF has no name for the module {}", module.path))
        })?;
        if !gguf::applies_lora(base.config(), &weight) {
            return Err(Error::new(format!(
                "llama.cpp loads LoRA on {} and does not apply it",
                module.path
            ))
            .hint("merge the adapter into the model, or train with other targets (all: attention and MLP)"));
        }
        let (a, b) = adapter.factors(index);
        let (a, a_shape) = match module.is_embedding() {
            true => (
                transposed(a, module.in_features),
                vec![module.in_features, module.rank],
            ),
            false => (
                gguf::permute_columns(base.config(), &weight, a, module.in_features),
                vec![module.rank, module.in_features],
            ),
        };
        let mut b = gguf::rows_in_gguf(base.config(), &weight, b, module.rank);
        fold_into(&mut b, fold);
        for (name, values, shape) in [
            (format!("{target}.lora_a"), a, a_shape),
            (
                format!("{target}.lora_b"),
                b,
                vec![module.out_features, module.rank],
            ),
        ] {
            factors.push(Factor {
                values,
                columns: shape[1],
            });
            tensors.push(GgufTensor { name, shape, dtype });
        }
    }
    let source = args.adapter.as_deref().unwrap_or(base.path());
    let mut metadata = metadata(
        gguf::architecture(base.config()),
        &name(args, source),
        alpha,
        dtype,
    );
    metadata.extend(chat);
    let progress = ui.progress("export", tensors.len() as u64, "matrices");
    write_gguf(&output.path, &metadata, &tensors, |index, first, rows| {
        let Factor { values, columns } = &factors[index];
        rows.copy_from_slice(&values[first * columns..][..rows.len()]);
        if (first * columns) + rows.len() == values.len() {
            progress.inc(1);
        }
        ui.check_interrupt()
    })?;
    drop(progress);
    let bytes = size(&output.path)?;
    ui.say(&format!(
        "{} modules of rank {}, alpha {alpha}",
        adapter.modules.len(),
        first.rank
    ));
    Ok(
        json!({"modules": adapter.modules.len(), "tensors": tensors.len(), "alpha": alpha, "bytes": bytes, "dtype": args.dtype}),
    )
}

/// What a module's scaling has beyond that of the file, in its B.
fn fold_into(b: &mut [f32], fold: f32) {
    if (fold - 1.0).abs() > 1e-6 {
        b.iter_mut().for_each(|v| *v *= fold);
    }
}

fn metadata(architecture: &str, name: &str, alpha: f32, dtype: GgufDtype) -> Vec<(String, Meta)> {
    let text = |s: &str| Meta::String(s.to_owned());
    [
        ("general.architecture", text(architecture)),
        ("general.type", text("adapter")),
        ("general.name", text(name)),
        ("adapter.type", text("lora")),
        ("adapter.lora.alpha", Meta::F32(alpha)),
        ("general.file_type", Meta::U32(dtype.file_type())),
        ("general.quantization_version", Meta::U32(2)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
