//! Opens what the command line names: the base, and the hashes of everything.
use crate::args::Args;
use crate::choices::Method;
use crate::failure::failed;
use lora_checkpoint::{Chat, ModelConfig, TokenizerBundle};
use lora_cli::Foreign as _;
use lora_cli::{Result, Ui, artefact_input, resolve_names};
use lora_core::BaseModel as _;
use lora_data::dataset_tokenizer;
use lora_model::{Adding, Base, TrainedOn, model_input, open_for};
use lora_receipt::{Artefact, Input};
use std::path::Path;

/// The inputs, opened, with the hashes of their content.
pub(crate) struct Inputs {
    pub(crate) base: Start,
    /// For the receipt.
    pub(crate) hashes: Vec<Input>,
}

/// A base model, or a folder that holds only its shape and tokenizer.
pub(crate) enum Start {
    Weights(Box<Base>),
    Shape(Box<ModelConfig>),
}

impl Inputs {
    /// Resolves `-`, opens the base and hashes everything.
    pub(crate) fn open(args: &mut Args, ui: &Ui) -> Result<Self> {
        args.base = artefact_input(&args.base, Artefact::Model)?;
        args.data = artefact_input(&args.data, Artefact::Dataset)?;
        resolve_names(&mut args.adapter, Artefact::Adapter)?;
        let base = if args.method == Method::Full && lacks_weights(&args.base)? {
            Start::Shape(Box::new(ModelConfig::from_json(
                &args.base.join("config.json"),
            )?))
        } else {
            let dataset = dataset_tokenizer(&args.data);
            let adding = Adding {
                adapters: args.adapter.as_slice(),
                dataset: dataset.as_deref(),
            };
            let opened = open_for(&args.base, adding)?;
            opened.notes.iter().for_each(|note| ui.say(note));
            Start::Weights(Box::new(opened.base))
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
            hashes.push(match &base {
                Start::Weights(base) if name == "base" && args.method == Method::Lora => {
                    model_input(name, path, base.checkpoint())?
                }
                _ => Input::read(name, path)?,
            });
        }
        Ok(Self { base, hashes })
    }

    /// An adapter to start from was trained on this base.
    pub(crate) fn check_base(&self, args: &Args, base: &Base, ui: &Ui) -> Result<()> {
        let given = self.hashes.iter().find(|input| input.name == "base");
        if let (Some(dir), Some(given)) = (&args.adapter, given) {
            let own = TrainedOn::of(dir).beside(base, given);
            args.other_base.check(ui, dir, given, own)?;
        }
        Ok(())
    }

    /// What the result depends on: the flags but for paths and threads, and the content of the inputs.
    pub(crate) fn fingerprint(&self, args: &Args) -> Result<serde_json::Value> {
        let mut value = serde_json::to_value(args).foreign()?;
        if let Some(map) = value.as_object_mut() {
            map.remove("threads");
            map.remove("adapter");
            map.remove("allow-other-base");
            for input in &self.hashes {
                map.insert(input.name.clone(), input.sha256.clone().into());
            }
            map.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
        }
        Ok(value)
    }

    /// The first weight of the base that holds a value that is not finite: the cause of whatever is not finite later.
    pub(crate) fn first_not_finite(&self) -> Option<String> {
        match &self.base {
            Start::Weights(base) => first_not_finite(base),
            Start::Shape(_) => None,
        }
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        match &self.base {
            Start::Weights(base) => base.checkpoint().config(),
            Start::Shape(config) => config,
        }
    }

    /// How the chats of the base are written, by its own files.
    pub(crate) fn chat(&self, path: &Path) -> Result<Chat> {
        match &self.base {
            Start::Weights(base) => Ok(base.checkpoint().chat()?),
            Start::Shape(_) => Ok(Chat::of_folder(path)?),
        }
    }

    pub(crate) fn tokenizer(&self, path: &Path) -> Result<TokenizerBundle> {
        match &self.base {
            Start::Weights(base) => Ok(base.checkpoint().tokenizer()?),
            Start::Shape(config) => Ok(TokenizerBundle::from_folder(path, config)?),
        }
    }
}

/// The first weight that holds a value that is not finite. Reads all of them.
fn first_not_finite(base: &Base) -> Option<String> {
    let weights = base.config().weights();
    let bad = weights
        .into_iter()
        .find(|(name, shape)| !is_finite(base, name, shape));
    bad.map(|(name, _)| name)
}

/// Rows of a weight that are read at once.
const ROWS: usize = 1024;

fn is_finite(base: &Base, name: &str, shape: &[usize]) -> bool {
    let all: usize = shape.iter().product();
    let step = if let [_, columns] = shape {
        ROWS * columns
    } else {
        all
    };
    let mut values = vec![0.0; step.min(all)];
    (0..all).step_by(step.max(1)).all(|first| {
        let values = &mut values[..step.min(all - first)];
        let is_read = base.read(name, first, values).is_ok();
        !is_read || values.iter().all(|x| x.is_finite())
    })
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
