//! Opening what will be exported, and refusing what the target can't hold.
use crate::{Args, Dtype, Format, gguf_adapter};
use lora_checkpoint::{Checkpoint, SaveDtype};
use lora_cli::{Error, Result, Ui, artefact_input, resolve_names};
use lora_core::{Adapter, BaseModel};
use lora_model::{Adding, Base, Opened, Served, open_for, rows_left_behind};
use lora_receipt::{Artefact, Receipt};
use std::path::{Path, PathBuf};

/// What will be exported.
#[allow(clippy::large_enum_variant)] // one of them exists in a process
pub(crate) enum Source {
    Model(Checkpoint),
    /// The base, and the adapter that fits it.
    Adapter(Base, Adapter),
}

impl Source {
    /// The model, or the adapter's base.
    pub(crate) fn model(&self) -> &Checkpoint {
        match self {
            Self::Model(model) => model,
            Self::Adapter(base, _) => base.checkpoint(),
        }
    }

    /// The type that loses nothing: the weights' own, f32 for an adapter.
    pub(crate) fn default_dtype(&self) -> Result<Dtype> {
        match self {
            Self::Adapter(..) => Ok(Dtype::F32),
            Self::Model(model) => Ok(SaveDtype::of(model)?.into()),
        }
    }
}

/// Resolves `-`, and finds an adapter's base where it was left out.
pub(crate) fn resolve(args: &mut Args) -> Result<()> {
    resolve_names(&mut args.model, Artefact::Model)?;
    resolve_names(&mut args.adapter, Artefact::Adapter)?;
    resolve_names(&mut args.verify, Artefact::Dataset)?;
    if let Some(adapter) = &args.adapter {
        let base = args
            .base
            .take()
            .map_or_else(|| base_in_receipt(adapter), Ok)?;
        args.base = Some(artefact_input(&base, Artefact::Model)?);
    }
    Ok(())
}

fn base_in_receipt(adapter: &Path) -> Result<PathBuf> {
    let receipt = Receipt::load(adapter).ok();
    let base = receipt.and_then(|r| r.inputs.into_iter().find(|input| input.name == "base"));
    let hint = "name the base: --base MODEL";
    match base {
        Some(base) if base.path.exists() => Ok(base.path),
        Some(base) => {
            let error = format!("the adapter's base {} is not here", base.path.display());
            Err(Error::new(error).hint(match base.hub {
                Some(name) => format!("fetch it again: --base {name}"),
                None => hint.to_owned(),
            }))
        }
        None => Err(Error::new(format!(
            "{} has no receipt that names its base",
            adapter.display()
        ))
        .hint(hint)),
    }
}

/// Opens the model, or base and adapter.
pub(crate) fn open(args: &Args, ui: &Ui) -> Result<Source> {
    match (&args.model, &args.adapter, &args.base) {
        (Some(model), ..) => Ok(Source::Model(Checkpoint::open(model)?)),
        (None, Some(path), Some(base)) => {
            let adding = Adding {
                adapters: std::slice::from_ref(path),
                dataset: None,
            };
            let Opened { base, notes } = open_for(base, adding)?;
            notes.iter().for_each(|note| ui.say(note));
            if gguf_adapter::is_gguf(path) {
                let adapter = gguf_adapter::read(path, &base)?;
                return Ok(Source::Adapter(base, adapter));
            }
            let (adapter, warnings) = Adapter::load(path, &base)?;
            warnings.iter().for_each(|warning| ui.warn(warning));
            Ok(Source::Adapter(base, adapter.into_plain()?))
        }
        _ => Err(Error::new("nothing to export")
            .hint("name a model with --model or an adapter with --adapter")),
    }
}

/// The chats that go with the export, and what is to be said of them.
pub(crate) fn served(args: &Args, source: &Source, ui: &Ui) -> Result<Served> {
    let own = source.model().chat()?;
    let adapters: Vec<PathBuf> = match source {
        Source::Model(_) => Vec::new(),
        Source::Adapter(..) => args.adapter.iter().cloned().collect(),
    };
    let served = Served::of(Some(own), &adapters)?;
    if let Some(difference) = &served.difference {
        let which = match args.format {
            Format::Gguf if args.modelfile => "the Modelfile has the former",
            Format::Gguf => {
                "llama.cpp takes the latter; lora-merge makes a model that has the former"
            }
            Format::Mlx => "mlx-lm takes the latter; lora-merge makes a model that has the former",
            Format::Peft | Format::Hf => "the output has the former",
        };
        ui.say(&format!("{difference}: {which}"));
    }
    served.notes.iter().for_each(|note| ui.say(note));
    let place = match args.format {
        Format::Gguf if args.modelfile => "the Modelfile has it",
        Format::Gguf => "the file keeps it, but llama.cpp has to be told (-sys TEXT)",
        Format::Hf | Format::Peft | Format::Mlx => "SYSTEM_PROMPT.txt keeps it",
    };
    served
        .system_note(place)
        .iter()
        .for_each(|note| ui.say(note));
    Ok(served)
}

/// Combinations that no file can hold.
pub(crate) fn refuse_impossible(args: &Args, source: &Source) -> Result<()> {
    let is_file = args.is_single();
    let of_model = [
        ("--verify", args.verify.is_some()),
        ("--importance", args.importance.is_some()),
    ];
    if let (Source::Adapter(..), Some((flag, _))) = (source, of_model.iter().find(|(_, on)| *on)) {
        return Err(Error::new(format!("{flag} is for models"))
            .hint("merge the adapter, and export the model: lora-merge --adapter A --out M"));
    }
    if args.importance.is_some()
        && args.compare.is_empty()
        && !args.dtype.is_some_and(Dtype::is_quantised)
    {
        return Err(
            Error::new("--importance is for quantised types").hint("name one: --dtype q4_k_m")
        );
    }
    if args.modelfile && (args.format != Format::Gguf || is_file) {
        return Err(
            Error::new("a Modelfile stands beside a GGUF file in a folder")
                .hint("use --format gguf and name a folder: --out ollama"),
        );
    }
    if args.format != Format::Gguf && is_file {
        return Err(Error::new(format!(
            "{} is named like a GGUF file, but --format {} writes a folder",
            args.out_path().display(),
            args.format.name()
        )));
    }
    if let Source::Adapter(base, adapter) = source
        && let Some(what) = rows_left_behind(base, adapter)
    {
        return Err(Error::new(format!(
            "the adapter brings {what}, which have no place in an adapter that is written here"
        ))
        .hint("merge it, and export the model: lora-merge --adapter A --out M"));
    }
    let blocks = args.dtype.filter(|dtype| dtype.is_quantised());
    match (source, args.format) {
        (Source::Model(_), Format::Peft | Format::Mlx) => {
            Err(Error::new(format!("--format {} is for adapters", args.format.name()))
                .hint("use --format gguf or hf for a model (mlx-lm loads what hf writes)"))
        }
        (Source::Model(_), Format::Hf) => match blocks {
            Some(dtype) => Err(Error::new(format!("{} is a type of GGUF files", dtype.name()))
                .hint("use --dtype bf16, f16 or f32 with --format hf")),
            None => Ok(()),
        },
        (Source::Model(_), _) => Ok(()),
        (Source::Adapter(..), Format::Hf) => Err(Error::new("--format hf is for models")
            .hint("use --format peft for an adapter, or merge it into its base: lora-merge --adapter A --out M")),
        (Source::Adapter(..), Format::Peft | Format::Mlx) if args.dtype != Some(Dtype::F32) => {
            Err(Error::new("adapter folders are written as f32").hint("leave --dtype out"))
        }
        (Source::Adapter(base, _), Format::Mlx) if base.unfit_for_mlx().is_some() => {
            let why = base.unfit_for_mlx().unwrap_or_default();
            Err(Error::new(format!("no adapter of mlx-lm fits this base: {why}"))
                .hint("use --format peft or gguf, or merge the adapter: lora-merge --adapter A --out M"))
        }
        (Source::Adapter(..), Format::Peft | Format::Mlx) => Ok(()),
        (Source::Adapter(base, adapter), Format::Gguf) => match blocks {
            Some(dtype) => Err(Error::new(format!("an adapter's matrices are too narrow for {}", dtype.name()))
                .hint("use --dtype f16")),
            None => gguf_adapter::refuse(base.checkpoint(), adapter),
        },
    }
}
