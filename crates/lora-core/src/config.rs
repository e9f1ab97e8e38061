//! [`LoraConfig`]: PEFT's adapter_config.json, read strictly and written as PEFT writes it.
use crate::adapter::TargetedModule;
use crate::keys::{self, KEYS, Role};
use crate::targets::{Matched, short_names};
use crate::{Error, LinearModule, TargetModules};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// PEFT's LoraConfig: the keys honoured here; the rest is carried in `extra`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank r.
    pub r: usize,
    /// α.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    pub lora_dropout: f64,
    /// Scaling α/√r in place of α/r.
    pub use_rslora: bool,
    /// Which modules carry an adapter.
    pub target_modules: TargetModules,
    /// `base_model_name_or_path`.
    pub base_model_name_or_path: Option<String>,
    /// Keys of a loaded adapter_config.json that are not honoured here and not active, carried as they are.
    pub extra: Map<String, Value>,
}

impl LoraConfig {
    /// Standard LoRA with PEFT's other defaults.
    pub fn new(r: usize, lora_alpha: f64, target_modules: TargetModules) -> Self {
        Self {
            r,
            lora_alpha,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules,
            base_model_name_or_path: None,
            extra: Map::new(),
        }
    }

    /// Reads adapter_config.json; active options that can't be honoured are errors, unknown keys are carried.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let fields: Map<String, Value> =
            serde_json::from_str(&text).map_err(|e| Error::invalid(path, format!("not a JSON object: {e}")))?;
        Self::from_json(&fields).map_err(|message| Error::invalid(path, message))
    }

    /// s for a rank: α/r, or α/√r with rsLoRA.
    pub fn scaling(&self, rank: usize) -> f32 {
        let rank = rank as f64;
        (self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }

    /// Checks the values that a caller may have set freely.
    pub fn validate(&self) -> Result<(), Error> {
        self.check().map_err(Error::Config)
    }

    /// The modules of a model that carry an adapter. An unmatched target is an error that lists the model's module names.
    pub fn target(&self, modules: &[LinearModule]) -> Result<Vec<TargetedModule>, Error> {
        let (targeted, unmatched) = self.target_leniently(modules)?;
        match unmatched.first() {
            None => Ok(targeted),
            Some(name) => Err(Error::Config(format!(
                "target module `{name}` is not in this model\nhint: its modules are {}",
                short_names(modules)
            ))),
        }
    }

    /// One line for each key that is unknown here and was carried.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.extra.iter().filter(|(key, _)| keys::role(key).is_none());
        unknown.map(|(key, value)| format!("unknown key `{key}: {value}` is kept but has no effect")).collect()
    }

    /// Like [`Self::target`], but hands back the list entries that match nothing, which PEFT passes over.
    pub(crate) fn target_leniently(
        &self,
        modules: &[LinearModule],
    ) -> Result<(Vec<TargetedModule>, Vec<String>), Error> {
        self.validate()?;
        let Matched { indices, unmatched } = self.target_modules.matching(modules)?;
        if indices.is_empty() {
            return Err(Error::Config(format!(
                "target_modules `{}` matches no module of this model\nhint: its modules are {}",
                self.target_modules,
                short_names(modules)
            )));
        }
        let mut offset = 0;
        let targeted = indices.into_iter().map(|i| self.place(&modules[i], &mut offset)).collect::<Option<Vec<_>>>();
        targeted
            .map(|targeted| (targeted, unmatched))
            .ok_or_else(|| Error::Config(format!("rank {} gives more parameters than memory can address", self.r)))
    }

    /// Lays a module's A and B out at `offset`, which moves on; None on overflow.
    fn place(&self, module: &LinearModule, offset: &mut usize) -> Option<TargetedModule> {
        let a_end = offset.checked_add(self.r.checked_mul(module.in_features)?)?;
        let b_end = a_end.checked_add(self.r.checked_mul(module.out_features)?)?;
        let (a, b) = (*offset..a_end, a_end..b_end);
        *offset = b_end;
        Some(TargetedModule {
            path: module.path.clone(),
            in_features: module.in_features,
            out_features: module.out_features,
            rank: self.r,
            scaling: self.scaling(self.r),
            a,
            b,
        })
    }

    /// Reads the fields of adapter_config.json; the error is one line, perhaps with a hint.
    fn from_json(fields: &Map<String, Value>) -> Result<Self, String> {
        let get = |key: &str| fields.get(key).unwrap_or(&Value::Null);
        expect_word(fields, "peft_type", "LORA")?;
        if !get("task_type").is_null() {
            expect_word(fields, "task_type", "CAUSAL_LM")?;
        }
        let config = Self {
            r: read(get("r"), json!(8), "r", "a positive whole number", |v| v.as_u64()?.try_into().ok())?,
            lora_alpha: read(get("lora_alpha"), json!(8), "lora_alpha", "a number", Value::as_f64)?,
            lora_dropout: read(get("lora_dropout"), json!(0.0), "lora_dropout", "a number", Value::as_f64)?,
            use_rslora: read(get("use_rslora"), json!(false), "use_rslora", "true or false", Value::as_bool)?,
            target_modules: read_targets(get("target_modules"))?,
            base_model_name_or_path: match get("base_model_name_or_path") {
                Value::Null => None,
                value => Some(read(value, Value::Null, "base_model_name_or_path", "a string", as_string)?),
            },
            extra: carried(fields)?,
        };
        config.check()?;
        Ok(config)
    }

    /// All 41 keys that PEFT 0.21.2 writes, and the carried ones, sorted, indent 2.
    pub(crate) fn to_json(&self) -> String {
        let mut fields: BTreeMap<String, Value> =
            KEYS.iter().map(|(key, literal, _)| (key.to_string(), keys::default(literal))).collect();
        fields.extend(self.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        let alpha = if self.lora_alpha.fract() == 0.0 && self.lora_alpha.abs() < 1e15 {
            json!(self.lora_alpha as i64)
        } else {
            json!(self.lora_alpha)
        };
        let targets = match &self.target_modules {
            TargetModules::List(names) => {
                let mut names = names.clone();
                names.sort();
                names.dedup();
                json!(names)
            }
            other => json!(other.to_string()),
        };
        for (key, value) in [
            ("r", json!(self.r)),
            ("lora_alpha", alpha),
            ("lora_dropout", json!(self.lora_dropout)),
            ("use_rslora", json!(self.use_rslora)),
            ("target_modules", targets),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
        ] {
            fields.insert(key.to_string(), value);
        }
        serde_json::to_string_pretty(&fields).unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        if self.r == 0 {
            return Err("rank r must be at least 1, not 0".to_string());
        }
        if !self.lora_alpha.is_finite() {
            return Err(format!("lora_alpha must be a finite number, not {}", self.lora_alpha));
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(format!("lora_dropout must lie in [0, 1), not {}", self.lora_dropout));
        }
        Ok(())
    }
}

/// The keys to carry; an active one that can't be honoured is an error that names key and value.
fn carried(fields: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut extra = Map::new();
    for (key, value) in fields {
        let default = KEYS.iter().find(|(name, ..)| name == key).map(|(_, literal, _)| keys::default(literal));
        match (keys::role(key), default) {
            (Some(Role::Honoured | Role::Constant), _) => {}
            (Some(Role::Refused), Some(default)) if !keys::is_inactive(value, &default) => {
                return Err(refusal(key, value));
            }
            _ if key == "init_lora_weights" && !keys::init_is_inert(value) => return Err(refusal(key, value)),
            (_, default) if default.as_ref() == Some(value) => {}
            _ => {
                extra.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(extra)
}

fn refusal(key: &str, value: &Value) -> String {
    format!(
        "option `{key}: {value}` is not supported\nhint: standard LoRA, rsLoRA and dropout are; convert the adapter with PEFT \
         or train it without `{key}`"
    )
}

fn expect_word(fields: &Map<String, Value>, key: &str, word: &str) -> Result<(), String> {
    match fields.get(key) {
        Some(Value::String(found)) if found == word => Ok(()),
        Some(found) => Err(format!("{key} is {found}, only \"{word}\" is supported")),
        None => Err(format!("no key `{key}`: not an adapter_config.json of PEFT")),
    }
}

/// A value of the right type; null stands for PEFT's default.
fn read<T>(
    value: &Value,
    default: Value,
    key: &str,
    kind: &str,
    get: impl Fn(&Value) -> Option<T>,
) -> Result<T, String> {
    let value = if value.is_null() { &default } else { value };
    get(value).ok_or_else(|| format!("{key} must be {kind}, not {value}"))
}

fn as_string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_string)
}

/// PEFT's `target_modules`; null means q_proj and v_proj, PEFT's own mapping for decoders of this kind.
fn read_targets(value: &Value) -> Result<TargetModules, String> {
    let targets = match value {
        Value::Null => Some(TargetModules::List(vec!["q_proj".to_string(), "v_proj".to_string()])),
        Value::String(word) if word.eq_ignore_ascii_case("all-linear") => Some(TargetModules::AllLinear),
        Value::String(pattern) => Some(TargetModules::Regex(pattern.clone())),
        Value::Array(items) => items.iter().map(as_string).collect::<Option<Vec<_>>>().map(|mut names| {
            names.sort();
            names.dedup();
            TargetModules::List(names)
        }),
        _ => None,
    };
    targets.ok_or_else(|| format!("target_modules must be a list of strings or a string, not {value}"))
}
