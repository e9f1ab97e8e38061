//! Opening base and adapter, and refusing what can't be merged.
use crate::{Args, Dtype, combine};
use lora_checkpoint::{Format, SaveDtype};
use lora_cli::{Error, Result, Ui, resolve_names};
use lora_core::{Adapter, BaseModel, Module, ModuleKind};
use lora_model::{
    Adding, Base, Opened, Served, TrainedOn, model_input, open_for, rows_left_behind,
};
use lora_receipt::{Artefact, Belonging, Identity, Input};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Base and adapter, opened and checked against each other.
pub(crate) struct Inputs {
    pub(crate) base: Base,
    /// The only one, or all of them combined.
    pub(crate) adapter: Adapter,
    /// How they were combined, for the receipt; null for the only one.
    pub(crate) combined: Value,
    pub(crate) dtype: Dtype,
    /// The chats that go with the merged model.
    pub(crate) served: Served,
    /// The token with which answers end, where the base does not stop at it.
    pub(crate) end: Option<u32>,
    pub(crate) hashed: Vec<Input>,
}

/// The adapters of the command line, and their base if it is known.
pub(crate) struct Adapters {
    pub(crate) loaded: Vec<Adapter>,
    /// The base's modules, or those that the adapters' own files name.
    pub(crate) modules: Vec<Module>,
    pub(crate) base: Option<Base>,
    pub(crate) hashed: Vec<Input>,
}

/// Resolves `-`, and finds the base where it was left out.
pub(crate) fn resolve(args: &mut Args) -> Result<()> {
    resolve_names(&mut args.adapter, Artefact::Adapter)?;
    resolve_names(&mut args.diff, Artefact::Adapter)?;
    resolve_names(&mut args.data, Artefact::Dataset)?;
    let may_lack_base = args.to_adapter || !args.diff.is_empty();
    let base = match (args.base.take(), args.adapter.first()) {
        (Some(base), _) => Some(base),
        (None, Some(first)) if may_lack_base => named_base(first).ok(),
        (None, Some(first)) => Some(named_base(first)?),
        (None, None) => None,
    };
    args.base = base;
    resolve_names(&mut args.base, Artefact::Model)
}

/// The base that the adapter's receipt names, else the one in its adapter_config.json.
fn named_base(adapter: &Path) -> Result<PathBuf> {
    let named = match TrainedOn::of(adapter) {
        TrainedOn::Nothing => lora_core::base_name(adapter)?,
        own => own.name(),
    };
    let named = named.map(PathBuf::from);
    let hint = "name the base: --base MODEL";
    match named {
        Some(path) if path.exists() => Ok(path),
        Some(path) => {
            let error = format!("the adapter's base {} is not here", path.display());
            let is_repository = path.is_relative() && path.components().count() == 2;
            Err(Error::new(error).hint(match is_repository {
                true => format!("{hint}, or from the hub: --base hub:{}", path.display()),
                false => hint.to_owned(),
            }))
        }
        None => Err(Error::new(format!(
            "{} does not say which base it belongs to",
            adapter.display()
        ))
        .hint(hint)),
    }
}

/// Opens base and adapters, and combines the latter.
pub(crate) fn open(args: &Args, ui: &Ui) -> Result<Inputs> {
    let Adapters {
        loaded,
        modules,
        base,
        hashed,
    } = open_adapters(args, ui)?;
    let base = base.ok_or_else(|| Error::new("no base").hint("name the base: --base MODEL"))?;
    let (adapter, combined) = combine::adapters(args, loaded, &modules, ui)?;
    refuse_bias_without_place(&base, &adapter)?;
    let dtype = dtype(args, &base)?;
    if dtype == Dtype::Base && unties(&base, &adapter) {
        return Err(Error::new(
            "embedding and head of the base are one tensor, and the adapter changes one of them: the file has no place for a \
             second",
        )
        .hint("merge into a folder (--out DIR), and export that: lora-export --model DIR --dtype TYPE --out m.gguf"));
    }
    let served = served(args, Some(&base), ui)?;
    let end = end(&base, &served, ui);
    Ok(Inputs {
        base,
        adapter,
        combined,
        dtype,
        served,
        end,
        hashed,
    })
}

/// The token with which the adapter's rows end, if the base does not stop at it; says so.
fn end(base: &Base, served: &Served, ui: &Ui) -> Option<u32> {
    served.adapter.as_ref()?;
    let bundle = base.checkpoint().tokenizer().ok()?;
    let end = lora_data::end_beyond_model(base.config(), &bundle, &served.chat)?;
    let token = bundle.tokenizer.id_to_token(end).unwrap_or_default();
    ui.say(&format!(
        "the adapter's rows end answers with {token} ({end}), at which the base does not stop: the output does"
    ));
    Some(end)
}

/// The chats that go with the output; says where they are not the base's, or not known.
pub(crate) fn served(args: &Args, base: Option<&Base>, ui: &Ui) -> Result<Served> {
    let own = base.map(|base| base.checkpoint().chat()).transpose()?;
    let served = Served::of(own, &args.adapter)?;
    if let Some(difference) = &served.difference {
        ui.say(&format!("{difference}: the output has the former"));
    }
    served.notes.iter().for_each(|note| ui.say(note));
    let place = match args.writes_gguf() {
        true => "the file keeps it, but llama.cpp has to be told (-sys TEXT)",
        false => "SYSTEM_PROMPT.txt keeps it",
    };
    let system = served.system_note(place);
    system.iter().for_each(|note| ui.say(note));
    served.warnings.iter().for_each(|warning| ui.warn(warning));
    Ok(served)
}

/// Opens the adapters, on their base if there is one.
pub(crate) fn open_adapters(args: &Args, ui: &Ui) -> Result<Adapters> {
    let base = open_base(args, &args.adapter, ui)?;
    let mut loaded = Vec::new();
    for path in &args.adapter {
        let (adapter, warnings) = load_adapter(path, base.as_ref())?;
        warnings.iter().for_each(|warning| ui.warn(warning));
        refuse_infinite(&adapter, path)?;
        loaded.push(adapter.into_plain()?);
    }
    let modules = match &base {
        Some(base) => base.modules(),
        None => union(
            args.adapter
                .iter()
                .map(|path| lora_core::modules_of(path))
                .collect::<Result<Vec<_>, _>>()?,
        ),
    };
    let mut hashed = Vec::new();
    if let Some((base, path)) = base.as_ref().zip(args.base.as_ref()) {
        hashed.push(match args.to_adapter {
            true => model_input("base", path, base.checkpoint())?,
            false => Input::read("base", path)?,
        });
    }
    for path in &args.adapter {
        hashed.push(Input::read("adapter", path)?);
    }
    if let Some(path) = &args.data {
        hashed.push(Input::read("data", path)?);
    }
    match (&base, hashed.first()) {
        (Some(base), Some(given)) => check_base(args, base, given, ui)?,
        _ => check_common_base(args, ui)?,
    }
    Ok(Adapters {
        loaded,
        modules,
        base,
        hashed,
    })
}

/// The base, with the vocabulary that these adapters were trained with.
pub(crate) fn open_base(args: &Args, adapters: &[PathBuf], ui: &Ui) -> Result<Option<Base>> {
    let Some(path) = &args.base else {
        return Ok(None);
    };
    let adding = Adding {
        adapters,
        dataset: None,
    };
    let Opened { base, notes } = open_for(path, adding)?;
    notes.iter().for_each(|note| ui.say(note));
    Ok(Some(base))
}

/// An adapter is written without rows of the vocabulary that it brought for its base.
pub(crate) fn refuse_left_behind(base: Option<&Base>, adapter: &Adapter) -> Result<()> {
    match base.and_then(|base| rows_left_behind(base, adapter)) {
        None => Ok(()),
        Some(what) => Err(Error::new(format!(
            "the adapter brings {what}, which an adapter that is written here would not have"
        ))
        .hint("merge it into a model: leave --to-adapter out")),
    }
}

/// Every adapter was trained on this base.
fn check_base(args: &Args, base: &Base, given: &Input, ui: &Ui) -> Result<()> {
    for path in &args.adapter {
        let own = TrainedOn::of(path).beside(base, given);
        args.other_base.check(ui, path, given, own)?;
    }
    Ok(())
}

/// Without a base: adapters that become one were trained on the same one, as far as their receipts tell.
fn check_common_base(args: &Args, ui: &Ui) -> Result<()> {
    let own = |path: &PathBuf| match TrainedOn::of(path) {
        TrainedOn::Receipt(base) => Some((path.clone(), *base)),
        _ => None,
    };
    let bases: Vec<(PathBuf, Input)> = args.adapter.iter().filter_map(own).collect();
    let Some(((_, first), others)) = bases.split_first() else {
        return Ok(());
    };
    for (path, base) in others {
        let own = Belonging {
            trained_on: Some(base.path.display().to_string()),
            identity: Identity::of(base, first),
        };
        args.other_base.check(ui, path, first, own)?;
    }
    Ok(())
}

/// Loads an adapter on its base, or on the modules that its own file names.
pub(crate) fn load_adapter(path: &Path, base: Option<&Base>) -> Result<(Adapter, Vec<String>)> {
    Ok(match base {
        Some(base) => Adapter::load(path, base)?,
        None => Adapter::load(path, &lora_core::modules_of(path)?)?,
    })
}

/// All modules, each once, in the order in which they first appear.
fn union(lists: Vec<Vec<Module>>) -> Vec<Module> {
    let mut all: Vec<Module> = Vec::new();
    for module in lists.into_iter().flatten() {
        if all.iter().all(|known| known.path != module.path) {
            all.push(module);
        }
    }
    all
}

/// True if head and embedding, which the base ties, are two in the merged model.
pub(crate) fn unties(base: &Base, adapter: &Adapter) -> bool {
    let takes = |path: &str| {
        adapter.find(path).is_some()
            || adapter.replacement(&format!("{path}.weight")).is_some()
            || adapter
                .rows_of(path)
                .is_some_and(|(own, _)| own.paths.len() == 1)
    };
    let is_side = |m: &Module| m.tied || m.kind == ModuleKind::Embedding;
    base.config().tie_word_embeddings && base.modules().iter().any(|m| is_side(m) && takes(&m.path))
}

/// A bias on B needs a bias of the base to be added to, as in PEFT.
fn refuse_bias_without_place(base: &Base, adapter: &Adapter) -> Result<()> {
    let modules = base.modules();
    let has_bias = |path: &str| modules.iter().any(|m| m.path == path && m.has_bias());
    match adapter
        .modules
        .iter()
        .find(|m| m.lora_bias.is_some() && !has_bias(&m.path))
    {
        None => Ok(()),
        Some(module) => Err(Error::new(format!(
            "{}: lora_bias can't be merged, the base has no bias here",
            module.path
        ))
        .hint("keep this adapter unmerged, or train one without --lora-bias")),
    }
}

fn refuse_infinite(adapter: &Adapter, path: &Path) -> Result<()> {
    let broken = adapter.tensors().into_iter().find(|t| {
        !adapter.params[t.range.clone()]
            .iter()
            .all(|v| v.is_finite())
    });
    match broken {
        None => Ok(()),
        Some(tensor) => Err(Error::new(format!(
            "{}: {} holds NaN or infinite values",
            path.display(),
            tensor.name
        ))
        .hint(
            "look at the metrics of the run that made it: not finite from the first step on, base or data are broken; \
             later, a lower --lr or --clip 1 keeps it finite",
        )),
    }
}

/// The type of the merged weights; a name that ends in .gguf asks for the base's own.
fn dtype(args: &Args, base: &Base) -> Result<Dtype> {
    let is_split = base.checkpoint().format() == Format::Gguf && base.checkpoint().files() > 1;
    if args.writes_gguf() && is_split {
        let what = format!(
            "{} is a model in several files, which are not written again",
            base.checkpoint().path().display()
        );
        return Err(Error::new(what).hint(
            "merge into a folder (--out DIR), and export that: lora-export --model DIR --dtype q4_k_m --out m.gguf",
        ));
    }
    match (args.dtype, args.writes_gguf()) {
        (None | Some(Dtype::Base), true) if base.checkpoint().format() == Format::Gguf => {
            Ok(Dtype::Base)
        }
        (None | Some(Dtype::Base), true) => Err(Error::new(format!(
            "{} is a folder: only a GGUF file can be merged into a GGUF file",
            base.checkpoint().path().display()
        ))
        .hint("merge into a folder (--out DIR), and export that: lora-export --model DIR --dtype q4_k_m --out m.gguf")),
        (Some(dtype), true) => Err(Error::new(format!(
            "a GGUF output has the base's own types, not {dtype}"
        ))
        .hint(format!("leave --dtype out, or merge into a folder and export that: lora-export --model DIR --dtype {dtype} --out m.gguf"))),
        (Some(Dtype::Base), false) => Err(Error::new(
            "--dtype base writes a GGUF file, --out names a folder",
        )
        .hint("name a file: --out merged.gguf")),
        (Some(dtype), false) => Ok(dtype),
        (None, false) => base_dtype(base),
    }
}

/// The type of the base's matrices; a quantised base is written as bf16.
fn base_dtype(base: &Base) -> Result<Dtype> {
    Ok(match SaveDtype::of(base.checkpoint())? {
        SaveDtype::F32 => Dtype::F32,
        SaveDtype::F16 => Dtype::F16,
        SaveDtype::BF16 => Dtype::Bf16,
    })
}
