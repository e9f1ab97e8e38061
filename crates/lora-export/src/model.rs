//! A model → one GGUF file, or a Hugging Face folder.
use crate::output::{Output, name};
use crate::{Args, Dtype, Format};
use lora_checkpoint::{Checkpoint, GgufDtype, Importance, SaveDtype, gguf, save_folder, save_gguf};
use lora_cli::Foreign as _;
use lora_cli::{Error, Result, Ui, human_bytes};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Writes the model, then opens what was written. Returns the figures for the receipt.
pub(crate) fn write(
    args: &Args,
    model: &Checkpoint,
    importance: Option<&Importance>,
    output: &Output,
    ui: &Ui,
) -> Result<Value> {
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
        Format::Gguf => {
            say_if_quantised_again(model, dtype, ui)?;
            let name = name(args, model.path());
            save_gguf(
                &output.path,
                model,
                dtype.gguf_model(importance),
                &name,
                step,
            )?
        }
        Format::Hf | Format::Peft | Format::Mlx => {
            let dtype = dtype.hf().unwrap_or(SaveDtype::BF16);
            save_folder(&output.path, model, dtype, |_, _, rows| {
                step(rows.len() as u64)
            })?
            .warnings
        }
    };
    drop(progress);
    warnings.iter().for_each(|warning| ui.warn(warning));
    let written = Checkpoint::open(&output.path)?;
    let mut expected = match args.format {
        Format::Gguf => gguf::weight_names(model.config()),
        Format::Hf | Format::Peft | Format::Mlx => model.tensor_names(),
    };
    expected.sort_unstable();
    if written.tensor_names() != expected {
        return Err(Error::new(
            "the written model does not have the weights of its source",
        ));
    }
    let bytes = size(&output.path)?;
    let of = written.tensor_names().len();
    let types = types(&written)?;
    let said: Vec<String> = types
        .iter()
        .map(|(dtype, n)| format!("{n} {dtype}"))
        .collect();
    ui.say(&format!(
        "{of} tensors, {} (matrices: {})",
        human_bytes(bytes),
        said.join(", ")
    ));
    Ok(
        json!({"tensors": of, "parameters": parameters, "bytes": bytes, "dtype": dtype, "types": types}),
    )
}

/// How many matrices have which type, the most frequent first.
fn types(model: &Checkpoint) -> Result<Map<String, Value>> {
    let mut counts = BTreeMap::new();
    for name in model.tensor_names() {
        let tensor = model.tensor(&name)?;
        if let (Some(dtype), 2) = (GgufDtype::of(tensor.dtype()), tensor.shape().len()) {
            *counts.entry(dtype).or_insert(0u64) += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let named = |(dtype, count): (GgufDtype, u64)| (dtype.name().to_owned(), count.into());
    Ok(counts.into_iter().map(named).collect())
}

/// Says that a model was rounded to blocks before.
fn say_if_quantised_again(model: &Checkpoint, dtype: Dtype, ui: &Ui) -> Result<()> {
    let names = model.tensor_names();
    let tensors = names.iter().map(|name| model.tensor(name));
    let stored = tensors
        .map(|tensor| Ok(tensor?.dtype()))
        .collect::<Result<Vec<_>>>()?;
    let is_quantised = stored.iter().any(|d| d.is_quantised());
    if is_quantised && dtype.is_quantised() {
        ui.say("the model is quantised already: what that lost is not regained, and it is rounded a second time");
    }
    Ok(())
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
