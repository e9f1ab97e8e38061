//! Opening what will be exported, and refusing what the target can't hold.
use crate::{Args, Dtype, Format};
use lora_checkpoint::{Checkpoint, SaveDtype};
use lora_cli::{Error, Result, Ui};
use lora_core::Adapter;
use lora_model::Base;
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
            Self::Model(model) => Ok(match SaveDtype::of(model)? {
                SaveDtype::F32 => Dtype::F32,
                SaveDtype::F16 => Dtype::F16,
                SaveDtype::BF16 => Dtype::Bf16,
            }),
        }
    }
}

/// Resolves `-`, and finds an adapter's base where it was left out.
pub(crate) fn resolve(args: &mut Args) -> Result<()> {
    let is_dash = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if is_dash(&args.adapter) && is_dash(&args.base) {
        return Err(Error::new("only one input can be `-`, since stdin holds one receipt"));
    }
    args.model = args.model.take().map(|path| lora_cli::artefact_input(&path, Artefact::Model)).transpose()?;
    args.adapter = args.adapter.take().map(|path| lora_cli::artefact_input(&path, Artefact::Adapter)).transpose()?;
    if let Some(adapter) = &args.adapter {
        let base = args.base.take().map_or_else(|| base_in_receipt(adapter), Ok)?;
        args.base = Some(lora_cli::artefact_input(&base, Artefact::Model)?);
    }
    Ok(())
}

fn base_in_receipt(adapter: &Path) -> Result<PathBuf> {
    let receipt = Receipt::load(adapter).ok();
    let base = receipt.and_then(|r| r.inputs.into_iter().find(|input| input.name == "base")).map(|input| input.path);
    let hint = "name the base: --base MODEL";
    match base {
        Some(path) if path.exists() => Ok(path),
        Some(path) => Err(Error::new(format!("the adapter's base {} is not here", path.display())).hint(hint)),
        None => Err(Error::new(format!("{} has no receipt that names its base", adapter.display())).hint(hint)),
    }
}

/// Opens the model, or base and adapter.
pub(crate) fn open(args: &Args, ui: &Ui) -> Result<Source> {
    match (&args.model, &args.adapter, &args.base) {
        (Some(model), ..) => Ok(Source::Model(Checkpoint::open(model)?)),
        (None, Some(adapter), Some(base)) => {
            let base = Base::open(base)?;
            let (adapter, warnings) = Adapter::load(adapter, &base)?;
            warnings.iter().for_each(|warning| ui.warn(warning));
            Ok(Source::Adapter(base, adapter))
        }
        _ => Err(Error::new("nothing to export").hint("name a model with --model or an adapter with --adapter")),
    }
}

/// Combinations that no file can hold.
pub(crate) fn refuse_impossible(args: &Args, source: &Source) -> Result<()> {
    let is_file = args.out.extension().is_some_and(|e| e == "gguf");
    if args.modelfile && (args.format != Format::Gguf || is_file) {
        return Err(Error::new("a Modelfile stands beside a GGUF file in a folder")
            .hint("use --format gguf and name a folder: --out ollama"));
    }
    if args.format == Format::Hf {
        if matches!(source, Source::Adapter(..)) {
            return Err(Error::new("an adapter folder is already what PEFT loads; --format hf is for models")
                .hint("merge it into its base for a model folder: lora-merge --adapter A --out M"));
        }
        if args.dtype == Some(Dtype::Q8_0) {
            return Err(
                Error::new("q8_0 is a type of GGUF files").hint("use --dtype bf16, f16 or f32 with --format hf")
            );
        }
        if is_file {
            return Err(Error::new(format!(
                "{} is named like a GGUF file, but --format hf writes a folder",
                args.out.display()
            )));
        }
    }
    let Source::Adapter(base, adapter) = source else {
        return Ok(());
    };
    if args.dtype == Some(Dtype::Q8_0) {
        return Err(Error::new("an adapter's matrices are too narrow for q8_0").hint("use --dtype f16"));
    }
    if base.checkpoint().config().tie_word_embeddings && adapter.find("lm_head").is_some() {
        return Err(Error::new(
            "lm_head carries an adapter, but shares its weights with the embedding: GGUF has no place for it",
        )
        .hint("train an adapter without the head among its targets"));
    }
    Ok(())
}
