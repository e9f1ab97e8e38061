//! Opening base and adapter, and refusing what can't be merged.
use crate::{Args, Dtype};
use lora_checkpoint::SaveDtype;
use lora_cli::{Error, Result, Ui};
use lora_core::{Adapter, BaseModel, LoraConfig};
use lora_model::Base;
use lora_receipt::{Artefact, Input, Receipt};
use std::path::{Path, PathBuf};

/// Base and adapter, opened and checked against each other.
pub(crate) struct Inputs {
    pub(crate) base: Base,
    pub(crate) adapter: Adapter,
    pub(crate) dtype: Dtype,
    pub(crate) hashed: Vec<Input>,
}

/// Resolves `-`, and finds the base where it was left out.
pub(crate) fn resolve(args: &mut Args) -> Result<()> {
    if args.threads == Some(0) {
        return Err(Error::new("--threads must be at least 1"));
    }
    let dashes = [Some(&args.adapter), args.base.as_ref(), args.data.as_ref()];
    if dashes.into_iter().flatten().filter(|path| path.as_path() == Path::new("-")).count() > 1 {
        return Err(Error::new("only one input can be `-`, since stdin holds one receipt"));
    }
    args.adapter = lora_cli::artefact_input(&args.adapter, Artefact::Adapter)?;
    let base = args.base.take().map_or_else(|| named_base(&args.adapter), Ok)?;
    args.base = Some(lora_cli::artefact_input(&base, Artefact::Model)?);
    args.data = args.data.take().map(|data| lora_cli::artefact_input(&data, Artefact::Dataset)).transpose()?;
    Ok(())
}

/// The base that the adapter's receipt names, else the one in its adapter_config.json.
fn named_base(adapter: &Path) -> Result<PathBuf> {
    let from_receipt = Receipt::load(adapter)
        .ok()
        .and_then(|receipt| receipt.inputs.into_iter().find(|input| input.name == "base").map(|input| input.path));
    let named = match from_receipt {
        Some(path) => Some(path),
        None => LoraConfig::load(&adapter.join("adapter_config.json"))?.base_model_name_or_path.map(PathBuf::from),
    };
    let hint = "name the base: --base MODEL";
    match named {
        Some(path) if path.exists() => Ok(path),
        Some(path) => Err(Error::new(format!("the adapter's base {} is not here", path.display())).hint(hint)),
        None => Err(Error::new(format!("{} does not say which base it belongs to", adapter.display())).hint(hint)),
    }
}

/// Opens both.
pub(crate) fn open(args: &Args, ui: &Ui) -> Result<Inputs> {
    let Some(base_path) = &args.base else { return Err(Error::new("no base")) };
    let base = Base::open(base_path)?;
    let (adapter, warnings) = Adapter::load(&args.adapter, &base)?;
    for warning in warnings {
        ui.warn(&warning);
    }
    refuse_tied_head(&base, &adapter)?;
    refuse_infinite(&adapter, &args.adapter)?;
    let dtype = args.dtype.map_or_else(|| base_dtype(&base), Ok)?;
    let mut hashed = Vec::new();
    for (name, path) in [("base", Some(base_path)), ("adapter", Some(&args.adapter)), ("data", args.data.as_ref())] {
        if let Some(path) = path {
            let sha256 = lora_receipt::hash_path(path)?;
            hashed.push(Input { name: name.to_owned(), path: path.clone(), sha256 });
        }
    }
    Ok(Inputs { base, adapter, dtype, hashed })
}

/// A delta on a tied head would change the embedding too; untying would change the architecture.
fn refuse_tied_head(base: &Base, adapter: &Adapter) -> Result<()> {
    let head = base.modules().into_iter().find(|module| module.is_head);
    match head {
        Some(head) if base.checkpoint().config().tie_word_embeddings && adapter.find(&head.path).is_some() => {
            Err(Error::new(format!("{} carries an adapter, but shares its weights with the embedding", head.path))
                .hint("keep this adapter unmerged, or train one without the head among its targets"))
        }
        _ => Ok(()),
    }
}

fn refuse_infinite(adapter: &Adapter, path: &Path) -> Result<()> {
    for (index, module) in adapter.modules.iter().enumerate() {
        let (a, b) = adapter.factors(index);
        if !a.iter().chain(b).all(|value| value.is_finite()) {
            return Err(Error::new(format!(
                "{}: the adapter of {} holds NaN or infinite values",
                path.display(),
                module.path
            ))
            .hint("look at the metrics of the run that made it; a lower --lr or --clip 1 keeps it finite"));
        }
    }
    Ok(())
}

/// The type of the base's matrices; a quantised base is written as bf16.
fn base_dtype(base: &Base) -> Result<Dtype> {
    Ok(match SaveDtype::of(base.checkpoint())? {
        SaveDtype::F32 => Dtype::F32,
        SaveDtype::F16 => Dtype::F16,
        SaveDtype::BF16 => Dtype::Bf16,
    })
}
