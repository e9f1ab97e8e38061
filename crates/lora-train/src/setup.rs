//! Opens what the command line names, checks that it fits together, and builds what trains.
use crate::args::{Args, Method, RouteKind};
use crate::checkpoint::{failed, state_file};
use crate::full::FullTrainable;
use crate::memory;
use crate::trainable::{LoraTrainable, Trainable};
use lora_checkpoint::{ModelConfig, TokenizerBundle};
use lora_cli::{Error, Result, Ui, artefact_input};
use lora_core::{Adapter, BaseModel, Init};
use lora_data::{Example, Split};
use lora_model::{Base, Composite, FullModel, Fused, Route};
use lora_receipt::{Artefact, Input, Staged};
use std::path::Path;

/// The inputs, opened, with the hashes of their content.
pub(crate) struct Inputs {
    base: Model,
    /// For the receipt.
    pub(crate) hashes: Vec<Input>,
}

/// A base model, or a folder that holds only its shape and tokenizer.
enum Model {
    Weights(Box<Base>),
    Shape(Box<ModelConfig>),
}

impl Inputs {
    /// Resolves `-`, opens the base and hashes everything.
    pub(crate) fn open(args: &mut Args) -> Result<Self> {
        args.base = artefact_input(&args.base, Artefact::Model)?;
        args.data = artefact_input(&args.data, Artefact::Dataset)?;
        if let Some(adapter) = &mut args.adapter {
            *adapter = artefact_input(adapter, Artefact::Adapter)?;
        }
        let base = if args.method == Method::Full && lacks_weights(&args.base)? {
            Model::Shape(Box::new(ModelConfig::from_json(
                &args.base.join("config.json"),
            )?))
        } else {
            Model::Weights(Box::new(Base::open(&args.base)?))
        };
        let named = [
            ("base", Some(&args.base)),
            ("data", Some(&args.data)),
            ("adapter", args.adapter.as_ref()),
        ];
        let mut hashes = Vec::new();
        for (name, path) in named
            .into_iter()
            .filter_map(|(name, path)| path.map(|path| (name, path)))
        {
            let sha256 = lora_receipt::hash_path(path)?;
            hashes.push(Input {
                name: name.to_owned(),
                path: path.clone(),
                sha256,
            });
        }
        Ok(Self { base, hashes })
    }

    /// What the result depends on: the flags but for paths and threads, and the content of the inputs.
    pub(crate) fn fingerprint(&self, args: &Args) -> Result<serde_json::Value> {
        let mut value = serde_json::to_value(args)?;
        if let Some(map) = value.as_object_mut() {
            map.remove("threads");
            map.remove("adapter");
            for input in &self.hashes {
                map.insert(input.name.clone(), input.sha256.clone().into());
            }
            map.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
        }
        Ok(value)
    }

    fn config(&self) -> &ModelConfig {
        match &self.base {
            Model::Weights(base) => base.checkpoint().config(),
            Model::Shape(config) => config,
        }
    }

    fn tokenizer(&self, path: &Path) -> Result<TokenizerBundle> {
        match &self.base {
            Model::Weights(base) => Ok(base.checkpoint().tokenizer()?),
            Model::Shape(config) => Ok(TokenizerBundle::from_folder(path, config)?),
        }
    }
}

/// True for a folder with a config.json but neither safetensors nor GGUF.
fn lacks_weights(base: &Path) -> Result<bool> {
    if !base.join("config.json").is_file() {
        return Ok(false);
    }
    let entries = std::fs::read_dir(base).map_err(failed("list", base))?;
    let is_weights = |path: &Path| {
        path.extension()
            .is_some_and(|e| e == "safetensors" || e == "gguf")
    };
    Ok(!entries
        .filter_map(std::result::Result::ok)
        .any(|entry| is_weights(&entry.path())))
}

/// The rows that train and those held out.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) train: Vec<Example>,
    pub(crate) valid: Option<Vec<Example>>,
}

/// Reads the splits and checks every row against the model.
pub(crate) fn load_data(args: &Args, inputs: &Inputs) -> Result<Data> {
    let train = load_split(args, inputs, "train")?;
    let has_valid = args.data.join("valid.parquet").is_file();
    let valid = if has_valid {
        Some(load_split(args, inputs, "valid")?)
    } else {
        None
    };
    if valid.is_none() && args.patience.is_some() {
        return Err(Error::new(format!(
            "--patience needs a valid split, and {} has none",
            args.data.display()
        ))
        .hint("prepare the data with lora-prep --valid 0.1"));
    }
    Ok(Data { train, valid })
}

/// One split. That every row is sound, and has a supervised token, is lora-data's law; that it fits the model is ours.
fn load_split(args: &Args, inputs: &Inputs, name: &str) -> Result<Vec<Example>> {
    let split = Split::read(&args.data, name)?;
    if split.tokenizer_sha256.is_some() {
        split.check_tokenizer(&inputs.tokenizer(&args.base)?.sha256, &args.data)?;
    }
    split.check_vocabulary(inputs.config().vocab_size, &args.data)?;
    let context = inputs.config().max_position_embeddings;
    match split
        .lengths()
        .into_iter()
        .enumerate()
        .find(|(_, tokens)| *tokens > context)
    {
        None => Ok(split.examples),
        Some((row, tokens)) => Err(Error::new(format!(
            "{}: row {} of {name} has {tokens} tokens, more than the model's context of {context}",
            args.data.display(),
            row + 1
        ))
        .hint(format!(
            "prepare the data with lora-prep --max-length {context}"
        ))),
    }
}

/// Builds what trains.
pub(crate) fn trainable<'i>(
    args: &Args,
    inputs: &'i Inputs,
    data: &Data,
    ui: &Ui,
) -> Result<Box<dyn Trainable + 'i>> {
    match (&inputs.base, args.method) {
        (Model::Weights(base), Method::Lora) => {
            let adapter = adapter(args, base, ui)?;
            let (route, memory): (Box<dyn Route + 'i>, _) =
                if args.route == Some(RouteKind::Composite) {
                    (Box::new(Composite::new(base)?), None)
                } else {
                    let memory = memory::choose(args, base, &adapter, data, ui)?;
                    let route = Fused::new(base, args.threads())?
                        .with_shared_prefixes(!args.no_shared_prefixes);
                    (Box::new(route.with_plan(memory.plan)), Some(memory))
                };
            Ok(Box::new(LoraTrainable::new(
                route,
                adapter,
                args,
                base.total_parameters(),
                memory,
            )))
        }
        (Model::Weights(base), Method::Full) => {
            if !args.base.join("config.json").is_file() {
                return Err(Error::new(format!(
                    "{}: --method full needs a Hugging Face folder",
                    args.base.display()
                ))
                .hint("make one with lora-export --model MODEL --format hf --out DIR"));
            }
            full(FullModel::from_base(base)?, args)
        }
        (Model::Shape(config), _) => {
            ui.say(&format!(
                "{} has no weights: starting at random from its config.json",
                args.base.display()
            ));
            full(FullModel::random((**config).clone(), args.seed)?, args)
        }
    }
}

fn full<'i>(model: FullModel, args: &Args) -> Result<Box<dyn Trainable + 'i>> {
    Ok(Box::new(FullTrainable::new(model, &args.base, args.dtype)?))
}

/// A new adapter, or the one to start from.
fn adapter(args: &Args, base: &Base, ui: &Ui) -> Result<Adapter> {
    let mut adapter = match &args.adapter {
        Some(dir) => {
            let (adapter, warnings) = Adapter::load(dir, base)?;
            warnings.iter().for_each(|warning| ui.warn(warning));
            adapter
        }
        None => {
            let modules = base.modules();
            let config = args.lora_config(args.targets()?.resolve(&modules)?)?;
            config
                .notes(&modules)?
                .iter()
                .for_each(|note| ui.warn(note));
            if matches!(config.init, Init::Pissa(Some(_))) {
                ui.say("--init pissa_niter_N asks for a quick decomposition: the exact one is computed");
            }
            Adapter::init(config, base, args.seed)?
        }
    };
    if let Some(dropout) = args.dropout {
        adapter.config.lora_dropout = dropout;
    }
    adapter.config.base_model_name_or_path = Some(args.base.display().to_string());
    Ok(adapter)
}

/// The output folder; an interrupted run in it is continued with --resume, thrown away with --force, else refused.
pub(crate) fn stage(args: &Args) -> Result<Staged> {
    let mut staged = Staged::resume_folder(&args.out, args.force)?;
    let interrupted = state_file(staged.path()).exists();
    if args.resume && interrupted {
        return Ok(staged);
    }
    if interrupted && !args.force {
        staged.keep_partial();
        return Err(Error::new(format!(
            "{} holds an interrupted run",
            staged.path().display()
        ))
        .hint("--resume continues it, --force starts over"));
    }
    drop(staged);
    Ok(Staged::folder(&args.out, args.force)?)
}
