//! Where the export goes: one .gguf file with its receipt beside it, or a folder.
use crate::inputs::Source;
use crate::{Args, Format};
use lora_cli::{Result, Ui, draft};
use lora_model::{TrainedOn, model_input};
use lora_receipt::identity::FACTORS;
use lora_receipt::{Artefact, Draft, Input, Staged};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A staged output.
pub(crate) struct Output {
    staged: Staged,
    /// The .gguf file to write, or the folder.
    pub(crate) path: PathBuf,
    artefact: Artefact,
    inputs: Vec<Input>,
}

/// Claims the output before any work is done, and hashes the inputs.
pub(crate) fn stage(args: &Args, source: &Source) -> Result<Output> {
    let single = args.is_single();
    let staged = match single {
        true => Staged::file(args.out_path(), args.force)?,
        false => Staged::folder(args.out_path(), args.force)?,
    };
    let file = match source {
        Source::Model(_) => "model.gguf",
        Source::Adapter(..) => "adapter.gguf",
    };
    let (path, artefact) = match (args.format, single) {
        (Format::Hf, _) => (staged.path().to_path_buf(), Artefact::Model),
        (Format::Peft | Format::Mlx, _) => (staged.path().to_path_buf(), Artefact::Adapter),
        (Format::Gguf, true) => (staged.path().to_path_buf(), Artefact::Gguf),
        (Format::Gguf, false) => (staged.path().join(file), Artefact::Gguf),
    };
    let named = [
        ("model", &args.model),
        ("adapter", &args.adapter),
        ("base", &args.base),
        ("importance", &args.importance),
        ("verify", &args.verify),
    ];
    let input = |name: &str, path: &Path| match source {
        Source::Adapter(base, _) if name == "base" => model_input(name, path, base.checkpoint()),
        _ => Input::read(name, path),
    };
    let inputs = named
        .into_iter()
        .filter_map(|(name, path)| Some(input(name, path.as_deref()?)))
        .collect::<Result<_, _>>()?;
    Ok(Output {
        staged,
        path,
        artefact,
        inputs,
    })
}

impl Output {
    /// An adapter is exported for the base that it was trained on.
    pub(crate) fn check_base(&self, args: &Args, source: &Source, ui: &Ui) -> Result<()> {
        let given = self.inputs.iter().find(|input| input.name == "base");
        if let (Source::Adapter(base, _), Some(path), Some(given)) = (source, &args.adapter, given)
        {
            let own = TrainedOn::of(path).beside(base, given);
            args.other_base.check(ui, path, given, own)?;
        }
        Ok(())
    }

    /// Writes the receipt and makes the output final.
    pub(crate) fn commit(mut self, args: &Args, results: Value, ui: &Ui) -> Result<()> {
        if self.artefact == Artefact::Gguf {
            // A GGUF LoRA is what it is for weights with the model's multipliers in them, whichever base it was made on.
            let inputs = self.inputs.iter_mut();
            inputs.for_each(|input| _ = input.marks.remove(FACTORS));
        }
        let draft = Draft {
            results,
            ..draft::<Args>(ui, args, self.artefact, self.inputs)?
        };
        lora_cli::commit(ui, self.staged, draft)
    }
}

/// The name for the metadata: what the user said, else the source's own file name without .gguf.
pub(crate) fn name(args: &Args, source: &Path) -> String {
    let path = std::path::absolute(source).unwrap_or_else(|_| source.to_path_buf());
    let own = lora_receipt::short_name(&path).unwrap_or_default();
    let stem = own.strip_suffix(".gguf").unwrap_or(&own);
    args.name.clone().unwrap_or_else(|| stem.to_owned())
}
