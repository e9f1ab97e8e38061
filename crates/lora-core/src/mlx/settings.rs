//! What mlx-lm's adapter_config.json says of the adapter, and PEFT's config of the same.
use super::tied::tied;
use crate::diagnosis::{foreign, other_base};
use crate::naming::targets_of;
use crate::{Fault, LoraConfig, Module};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What adapter_config.json says of the adapter itself; the rest are mlx-lm's settings of the training.
pub(super) struct Settings {
    rank: usize,
    scale: f64,
    dropout: f64,
    dora: bool,
    model: Option<String>,
}

impl Settings {
    pub(super) fn read(fields: &Map<String, Value>) -> Result<Self, Fault> {
        let dora = match fields.get("fine_tune_type").unwrap_or(&json!("lora")) {
            Value::String(kind) if kind == "lora" => false,
            Value::String(kind) if kind == "dora" => true,
            other => {
                return Err(Fault::new(format!("fine_tune_type {other} is no adapter"))
                    .hint("only lora and dora are; fuse the rest with mlx_lm.fuse"));
            }
        };
        let parameters = fields.get("lora_parameters").and_then(Value::as_object);
        let parameters = parameters.ok_or("no lora_parameters: not an adapter of mlx-lm")?;
        let number = |key: &str| {
            parameters
                .get(key)
                .and_then(Value::as_f64)
                .filter(|x| x.is_finite())
        };
        let rank = parameters
            .get("rank")
            .and_then(Value::as_u64)
            .and_then(|r| usize::try_from(r).ok());
        Ok(Self {
            rank: rank
                .filter(|&r| r > 0)
                .ok_or("lora_parameters.rank must be a positive whole number")?,
            scale: number("scale").ok_or_else(|| no_scale(number("alpha"), rank))?,
            dropout: number("dropout").unwrap_or(0.0),
            dora,
            model: fields
                .get("model")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }

    /// Why a module of the file is none of the base.
    fn unknown(&self, path: &str, modules: &[Module]) -> Fault {
        let known: Vec<String> = modules
            .iter()
            .map(|module| format!("{}.lora", module.path))
            .collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let why = match foreign(&format!("{path}.lora"), &known) {
            Some(other) => other.turned().fault(),
            None => Fault::new("").hint(other_base(self.model.as_deref())),
        };
        why.behind(&format!("{path} is no module of this base"))
    }

    /// PEFT's config of the same adapter, on exactly these modules.
    pub(super) fn config(
        self,
        paths: &BTreeSet<&str>,
        modules: &[Module],
    ) -> Result<LoraConfig, Fault> {
        let module = |path: &&str| modules.iter().find(|module| module.path == **path);
        let mut paths = paths.clone();
        if let Some((table, head)) =
            tied(modules).filter(|(table, _)| paths.contains(table.path.as_str()))
        {
            if paths.contains(head.path.as_str()) {
                return Err(Fault::new(format!(
                    "{} shares its weights with {} and has no adapter of its own",
                    head.path, table.path
                )));
            }
            paths.insert(&head.path);
        }
        if let Some(path) = paths.iter().find(|path| module(path).is_none()) {
            return Err(self.unknown(path, modules));
        }
        if self.dora
            && paths
                .iter()
                .any(|path| module(path).is_some_and(|m| !m.is_linear()))
        {
            return Err(Fault::new(
                "DoRA on an embedding has one magnitude a token in mlx-lm, which PEFT has no place for",
            ));
        }
        let mut names: Vec<String> = paths
            .iter()
            .filter_map(module)
            .map(|m| m.name().to_owned())
            .collect();
        names.sort();
        names.dedup();
        let ordered: Vec<&str> = modules
            .iter()
            .map(|m| m.path.as_str())
            .filter(|path| paths.contains(path))
            .collect();
        let mut config = LoraConfig::new(
            self.rank,
            self.scale * self.rank as f64,
            targets_of(names, &ordered, modules),
        );
        config.lora_dropout = self.dropout;
        config.use_dora = self.dora;
        config.base_model_name_or_path = self.model;
        Ok(config)
    }
}

/// mlx-lm multiplies by `scale`; people who know PEFT write `alpha`.
fn no_scale(alpha: Option<f64>, rank: Option<usize>) -> Fault {
    let what = "lora_parameters.scale must be a number";
    match (alpha, rank) {
        (Some(alpha), Some(rank)) => {
            Fault::new(format!("{what}, and it has alpha instead")).hint(format!(
                "mlx-lm's scale is alpha / rank: write \"scale\": {} in place of \"alpha\": {alpha}",
                alpha / rank as f64
            ))
        }
        _ => Fault::new(what),
    }
}
