//! From what the user named to a decoder's shape: a folder, a config.json, a GGUF file, or a well-known name.
use crate::model::known::Known;
use lora_checkpoint::{Checkpoint, ModelConfig};
use lora_cli::{Error, Result, artefact_input, hub_shape, is_hub};
use lora_core::{Module, Parameters, TargetModules, Targets};
use lora_receipt::Artefact;
use std::path::{Path, PathBuf};

/// A model as far as a plan needs it.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How the user named it.
    pub name: String,
    /// Its files, if it has any.
    pub path: Option<PathBuf>,
    /// Its decoder.
    pub config: ModelConfig,
}

impl Shape {
    /// A well-known model.
    pub fn known(known: &Known) -> Self {
        Self {
            name: known.name.to_string(),
            path: None,
            config: known.config(),
        }
    }

    /// All modules in model order.
    pub(crate) fn modules(&self) -> Vec<Module> {
        lora_model::spec::modules(&self.config)
    }

    /// What a person asks for, on this model.
    pub(crate) fn targets(&self, text: &str) -> Result<TargetModules> {
        let targets: Targets = text.parse()?;
        Ok(targets.resolve(&self.modules())?)
    }

    /// The parameters of mixtures that a person asks for, if any, on this model.
    pub(crate) fn target_parameters(&self, given: &[String]) -> Result<Option<Vec<String>>> {
        if given.is_empty() {
            return Ok(None);
        }
        let parameters: Parameters = given.join(",").parse()?;
        Ok(Some(parameters.resolve(&self.modules())?))
    }

    /// Decoder layers.
    pub(crate) fn layers(&self) -> usize {
        self.config.num_hidden_layers
    }

    /// All parameters, a tied head counted once.
    pub fn total_parameters(&self) -> u64 {
        self.config.parameters()
    }
}

/// Finds the model: a name on the hub (of which the configuration alone is fetched) or a path that exists comes first, then
/// a well-known name.
pub(crate) fn resolve(model: &Path) -> Result<Shape> {
    if is_hub(model) {
        return of_path(hub_shape(model)?);
    }
    if model.as_os_str() != "-" && !model.exists() {
        return by_name(model);
    }
    of_path(artefact_input(model, Artefact::Model)?)
}

/// The same with the weights of a model on the hub.
pub(crate) fn resolve_whole(model: &Path) -> Result<Shape> {
    match is_hub(model) {
        true => of_path(artefact_input(model, Artefact::Model)?),
        false => resolve(model),
    }
}

fn of_path(path: PathBuf) -> Result<Shape> {
    let config = match config_json(&path) {
        Some(file) => ModelConfig::from_json(&file)?,
        None => Checkpoint::open(&path)?.config().clone(),
    };
    Ok(Shape {
        name: path.display().to_string(),
        path: Some(path),
        config,
    })
}

/// The config.json to read: the path itself, or the one in the folder.
fn config_json(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.join("config.json")).filter(|file| file.is_file());
    }
    path.extension()
        .is_some_and(|e| e == "json")
        .then(|| path.to_path_buf())
}

fn by_name(model: &Path) -> Result<Shape> {
    match Known::named(&model.to_string_lossy()) {
        Some(known) => Ok(Shape {
            name: model.display().to_string(),
            ..Shape::known(&known)
        }),
        None => {
            let names: Vec<&str> = Known::all().iter().map(|k| k.name).collect();
            let names = names.join(", ");
            Err(Error::new(format!(
                "there is no file {} and no model known by that name",
                model.display()
            ))
            .hint(format!("known names: {names}")))
        }
    }
}
