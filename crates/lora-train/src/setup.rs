//! Opens what the command line names, checks that it fits together, and builds what trains.
use crate::args::{Args, Method, RouteKind};
use crate::checkpoint::{failed, state_file};
use crate::full::FullTrainable;
use crate::trainable::{LoraTrainable, Trainable};
use lora_checkpoint::{ModelConfig, TokenizerBundle};
use lora_cli::{Error, Result, Ui, artefact_input};
use lora_core::{Adapter, LoraConfig};
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
            Model::Shape(Box::new(ModelConfig::from_json(&args.base.join("config.json"))?))
        } else {
            Model::Weights(Box::new(Base::open(&args.base)?))
        };
        let named = [("base", Some(&args.base)), ("data", Some(&args.data)), ("adapter", args.adapter.as_ref())];
        let mut hashes = Vec::new();
        for (name, path) in named.into_iter().filter_map(|(name, path)| path.map(|path| (name, path))) {
            let sha256 = lora_receipt::hash_path(path)?;
            hashes.push(Input { name: name.to_owned(), path: path.clone(), sha256 });
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
            Model::Shape(_) => todo!("{path:?}"),
        }
    }
}

/// True for a folder with a config.json but neither safetensors nor GGUF.
fn lacks_weights(base: &Path) -> Result<bool> {
    if !base.join("config.json").is_file() {
        return Ok(false);
    }
    let entries = std::fs::read_dir(base).map_err(failed("list", base))?;
    let is_weights = |path: &Path| path.extension().is_some_and(|e| e == "safetensors" || e == "gguf");
    Ok(!entries.filter_map(std::result::Result::ok).any(|entry| is_weights(&entry.path())))
}

/// The rows that train and those held out.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) train: Vec<Example>,
    pub(crate) valid: Option<Vec<Example>>,
}

/// Reads the splits and checks every row against the model.
pub(crate) fn load_data(args: &Args, inputs: &Inputs, ui: &Ui) -> Result<Data> {
    let train = load_split(args, inputs, "train", ui)?;
    let has_valid = args.data.join("valid.parquet").is_file();
    let valid = if has_valid { Some(load_split(args, inputs, "valid", ui)?) } else { None };
    let valid = valid.filter(|rows| !rows.is_empty());
    if train.is_empty() {
        return Err(Error::new(format!("{} has no row to train on", args.data.display()))
            .hint("every row needs at least one label that is not -100, after its first token"));
    }
    if valid.is_none() && args.patience.is_some() {
        return Err(Error::new(format!("--patience needs a valid split, and {} has none", args.data.display()))
            .hint("prepare the data with lora-prep --valid 0.1"));
    }
    Ok(Data { train, valid })
}

fn load_split(args: &Args, inputs: &Inputs, name: &str, ui: &Ui) -> Result<Vec<Example>> {
    let split = Split::read(&args.data, name)?;
    if split.tokenizer_sha256.is_some() {
        split.check_tokenizer(&inputs.tokenizer(&args.base)?.sha256, &args.data)?;
    }
    let rows = split.examples.len();
    for (row, example) in split.examples.iter().enumerate() {
        check_row(example, inputs.config())
            .map_err(|e| e.context(format!("{}: row {} of {name} can't be used", args.data.display(), row + 1)))?;
    }
    let supervised = |e: &Example| e.labels.iter().skip(1).any(|&label| label >= 0);
    let kept: Vec<Example> = split.examples.into_iter().filter(supervised).collect();
    if kept.len() < rows {
        ui.warn(&format!("{} of {rows} rows of {name} have no supervised token and are left out", rows - kept.len()));
    }
    Ok(kept)
}

/// A row must fit the model's context and vocabulary.
fn check_row(example: &Example, config: &ModelConfig) -> Result<()> {
    let (tokens, context) = (example.input_ids.len(), config.max_position_embeddings);
    if tokens > context {
        return Err(Error::new(format!("it has {tokens} tokens, more than the model's context of {context}"))
            .hint(format!("prepare the data with lora-prep --max-length {context}")));
    }
    if example.labels.len() != tokens {
        return Err(Error::new(format!("it has {tokens} input_ids but {} labels", example.labels.len())));
    }
    let bad_label = example.labels.iter().find(|&&l| l != lora_data::IGNORE && l < 0);
    if let Some(label) = bad_label {
        return Err(Error::new(format!("label {label} is neither a token id nor {}", lora_data::IGNORE)));
    }
    let ids = example.input_ids.iter().copied().chain(example.labels.iter().filter_map(|&l| u32::try_from(l).ok()));
    match ids.into_iter().find(|&id| id as usize >= config.vocab_size) {
        None => Ok(()),
        Some(id) => {
            Err(Error::new(format!("token id {id} is outside the model's vocabulary of {}", config.vocab_size))
                .hint("prepare the data with this base's tokenizer"))
        }
    }
}

/// Builds what trains.
pub(crate) fn trainable<'i>(args: &Args, inputs: &'i Inputs, ui: &Ui) -> Result<Box<dyn Trainable + 'i>> {
    match (&inputs.base, args.method) {
        (Model::Weights(base), Method::Lora) => {
            let adapter = adapter(args, base, ui)?;
            let route: Box<dyn Route + 'i> = match args.route {
                Some(RouteKind::Composite) => Box::new(Composite::new(base)?),
                _ => Box::new(Fused::new(base, args.threads())?),
            };
            Ok(Box::new(LoraTrainable::new(route, adapter, args.seed, base.total_parameters())))
        }
        (Model::Weights(base), Method::Full) => {
            if !args.base.join("config.json").is_file() {
                return Err(Error::new(format!("{}: --method full needs a Hugging Face folder", args.base.display()))
                    .hint("make one with lora-export --model MODEL --format hf --out DIR"));
            }
            full(FullModel::from_base(base)?, args)
        }
        (Model::Shape(config), _) => {
            ui.say(&format!("{} has no weights: starting at random from its config.json", args.base.display()));
            full(FullModel::random((**config).clone(), args.seed)?, args)
        }
    }
}

fn full<'i>(model: FullModel, args: &Args) -> Result<Box<dyn Trainable + 'i>> {
    Ok(Box::new(FullTrainable::new(model, &args.base, args.dtype)?))
}

/// A new adapter, or the one to start from.
fn adapter(args: &Args, base: &Base, ui: &Ui) -> Result<Adapter> {
    let modules = base.linear_modules();
    let mut adapter = match &args.adapter {
        Some(dir) => {
            let (adapter, warnings) = Adapter::load(dir, &modules)?;
            warnings.iter().for_each(|warning| ui.warn(warning));
            adapter
        }
        None => {
            let (rank, alpha) = (args.rank.unwrap_or(16), args.alpha.unwrap_or(16.0));
            let mut config = LoraConfig::new(rank, alpha, args.target_modules()?);
            config.use_rslora = args.rslora;
            Adapter::init(config, &modules, args.seed)?
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
        return Err(Error::new(format!("{} holds an interrupted run", staged.path().display()))
            .hint("--resume continues it, --force starts over"));
    }
    drop(staged);
    Ok(Staged::folder(&args.out, args.force)?)
}
