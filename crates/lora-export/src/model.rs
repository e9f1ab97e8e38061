//! A model → one GGUF file, or a Hugging Face folder.
use crate::output::{Output, name};
use crate::{Args, Dtype, Format};
use lora_checkpoint::{Checkpoint, GgufDtype, SaveDtype, save_folder, save_gguf};
use lora_cli::Foreign as _;
use lora_cli::{Error, Result, Ui, human_bytes};
use serde_json::{Value, json};

/// Writes the model, then opens what was written. Returns the figures for the receipt.
pub(crate) fn write(args: &Args, model: &Checkpoint, output: &Output, ui: &Ui) -> Result<Value> {
    let parameters: usize = model
        .tensor_names()
        .iter()
        .map(|name| model.tensor(name).map(|t| t.len()))
        .sum::<Result<_, _>>()?;
    let progress = ui.progress("export", parameters as u64, "weights");
    let step = |values: u64| {
        progress.inc(values);
        ui.check_interrupt()
    };
    let dtype = args.dtype.unwrap_or(Dtype::Bf16);
    let warnings = match args.format {
        Format::Gguf => save_gguf(
            &output.path,
            model,
            gguf_dtype(dtype),
            &name(args, model.path()),
            step,
        )?,
        Format::Hf | Format::Peft | Format::Mlx => {
            save_folder(&output.path, model, hf_dtype(dtype)?, |_, _, rows| {
                step(rows.len() as u64)
            })?
            .warnings
        }
    };
    drop(progress);
    warnings.iter().for_each(|warning| ui.warn(warning));
    let written = Checkpoint::open(&output.path)?;
    if written.tensor_names() != model.tensor_names() {
        return Err(Error::new(
            "the written model does not have the weights of its source",
        ));
    }
    let bytes = size(&output.path)?;
    let of = written.tensor_names().len();
    ui.say(&format!("{of} tensors, {}", human_bytes(bytes)));
    Ok(json!({"tensors": of, "parameters": parameters, "bytes": bytes, "dtype": dtype}))
}

pub(crate) fn gguf_dtype(dtype: Dtype) -> GgufDtype {
    match dtype {
        Dtype::F32 => GgufDtype::F32,
        Dtype::F16 => GgufDtype::F16,
        Dtype::Bf16 => GgufDtype::BF16,
        Dtype::Q8_0 => GgufDtype::Q8_0,
    }
}

fn hf_dtype(dtype: Dtype) -> Result<SaveDtype> {
    match dtype {
        Dtype::F32 => Ok(SaveDtype::F32),
        Dtype::F16 => Ok(SaveDtype::F16),
        Dtype::Bf16 => Ok(SaveDtype::BF16),
        Dtype::Q8_0 => Err(Error::new("q8_0 is a type of GGUF files")),
    }
}

/// Bytes of a file, or of all files of a folder.
pub(crate) fn size(path: &std::path::Path) -> Result<u64> {
    let metadata = std::fs::metadata(path).foreign()?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    std::fs::read_dir(path)
        .foreign()?
        .map(|entry| Ok(entry.foreign()?.metadata().foreign()?.len()))
        .sum()
}
