//! mlx-lm's adapter folder, read and written (mlx-lm 0.32: `tuner/utils.py`, `tuner/lora.py`, `tuner/dora.py`).
//!
//! Its factors are PEFT's transposed: `lora_a` (in, r) and `lora_b` (r, out), with one rank and one `scale` for all modules.
//! Other scalings are folded into `lora_b`, smaller ranks filled up with zeros, both exactly.
//! A model that ties its head to the embedding has one adapter for both there (`LoRAEmbedding.as_linear`); PEFT's is two, the
//! head's with A and B exchanged.
use crate::error::Fault;
use crate::files::{OTHER_BASE, widen};
use crate::layout::TargetedModule;
use crate::naming::targets_of;
use crate::{Adapter, BaseModel, CONFIG_FILE, Error, Layout, LoraConfig, Module, ModuleKind};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Name of the tensor file in mlx-lm's folder.
pub const MLX_WEIGHTS_FILE: &str = "adapters.safetensors";

/// True for a folder of mlx-lm's making.
pub(crate) fn is_mlx(dir: &Path) -> bool {
    dir.join(MLX_WEIGHTS_FILE).is_file() && !dir.join(crate::WEIGHTS_FILE).is_file()
}

/// Loads an mlx-lm folder as strictly as PEFT's: every tensor used, every shape equal.
pub(crate) fn load(dir: &Path, base: &impl BaseModel) -> Result<Adapter, Error> {
    let fields = fields(dir)?;
    let settings =
        Settings::read(&fields).map_err(|fault| Error::invalid(&dir.join(CONFIG_FILE), fault))?;
    let path = dir.join(MLX_WEIGHTS_FILE);
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| {
        Error::invalid(&path, format!("not a readable safetensors file: {e}"))
            .hint("was the download or the copy cut off?")
    })?;
    let modules = base.modules();
    let in_file = |fault: Fault| Error::invalid(&path, fault);
    let config = settings
        .config(&paths(&tensors).map_err(in_file)?, &modules)
        .map_err(in_file)?;
    let layout = config.layout(&modules)?;
    let params = fill(&tensors, &layout, &modules, config.use_dora).map_err(in_file)?;
    Adapter::from_layout(config, layout, params)
}

/// The model that an mlx-lm folder was trained on.
pub(crate) fn base_name(dir: &Path) -> Result<Option<String>, Error> {
    Ok(fields(dir)?
        .get("model")
        .and_then(Value::as_str)
        .map(str::to_owned))
}

fn fields(dir: &Path) -> Result<Map<String, Value>, Error> {
    let path = dir.join(CONFIG_FILE);
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::invalid(&path, format!("not a JSON object: {e}")))
}

/// What adapter_config.json says of the adapter itself; the rest are mlx-lm's settings of the training.
struct Settings {
    rank: usize,
    scale: f64,
    dropout: f64,
    dora: bool,
    model: Option<String>,
}

impl Settings {
    fn read(fields: &Map<String, Value>) -> Result<Self, Fault> {
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
            scale: number("scale").ok_or("lora_parameters.scale must be a number")?,
            dropout: number("dropout").unwrap_or(0.0),
            dora,
            model: fields
                .get("model")
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }

    /// PEFT's config of the same adapter, on exactly these modules.
    fn config(self, paths: &BTreeSet<&str>, modules: &[Module]) -> Result<LoraConfig, Fault> {
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
            return Err(Fault::new(format!("{path} is no module of this base")).hint(OTHER_BASE));
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

/// The modules that the file's tensors belong to.
fn paths<'t>(tensors: &'t SafeTensors<'_>) -> Result<BTreeSet<&'t str>, Fault> {
    let path = |name: &'t str| {
        let path = [".lora_a", ".lora_b", ".m"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        path.ok_or_else(|| {
            Fault::new(format!("tensor {name} is no part of a LoRA or DoRA"))
                .hint("fully trained weights are no adapter: fuse them with mlx_lm.fuse")
        })
    };
    let paths: BTreeSet<&str> = tensors
        .names()
        .into_iter()
        .map(path)
        .collect::<Result<_, _>>()?;
    if paths.is_empty() {
        Err(Fault::new("no tensors"))
    } else {
        Ok(paths)
    }
}

/// The embedding, and the head that has its weights, if the model ties them.
fn tied(modules: &[Module]) -> Option<(&Module, &Module)> {
    let table = modules.iter().find(|m| m.kind == ModuleKind::Embedding)?;
    Some((table, modules.iter().find(|m| m.tied)?))
}

fn fill(
    tensors: &SafeTensors<'_>,
    layout: &Layout,
    modules: &[Module],
    dora: bool,
) -> Result<Vec<f32>, Fault> {
    let mut params = vec![0.0; layout.parameters()];
    let shared =
        tied(modules).filter(|(table, _)| layout.modules.iter().any(|m| m.path == table.path));
    for module in &layout.modules {
        if let Some((table, _)) = shared.filter(|(_, head)| head.path == module.path) {
            for (suffix, range) in [("lora_b", &module.a), ("lora_a", &module.b)] {
                let name = format!("{}.{suffix}", table.path);
                let tensor = tensors
                    .tensor(&name)
                    .map_err(|_| format!("tensor {name} is missing"))?;
                let place = &mut params[range.clone()];
                if tensor.shape().iter().product::<usize>() != place.len() {
                    let found = tensor.shape();
                    let what =
                        format!("tensor {name} has shape {found:?}, which is not this base's");
                    return Err(Fault::new(what).hint(OTHER_BASE));
                }
                widen(&tensor, place).map_err(|why| format!("tensor {name} {why}"))?;
            }
            continue;
        }
        let mut take = |suffix: &str, shape: &[usize], range: std::ops::Range<usize>| {
            let name = format!("{}.{suffix}", module.path);
            let tensor = tensors
                .tensor(&name)
                .map_err(|_| format!("tensor {name} is missing"))?;
            if tensor.shape() != shape {
                let found = tensor.shape();
                let what = format!("tensor {name} has shape {found:?}, this base needs {shape:?}");
                return Err(Fault::new(what).hint(OTHER_BASE));
            }
            let mut values = vec![0.0; range.len()];
            widen(&tensor, &mut values).map_err(|why| format!("tensor {name} {why}"))?;
            params[range].copy_from_slice(&transposed(&values, shape[0]));
            Ok(())
        };
        take(
            "lora_a",
            &[module.in_features, module.rank],
            module.a.clone(),
        )?;
        take(
            "lora_b",
            &[module.rank, module.out_features],
            module.b.clone(),
        )?;
        if let Some(range) = &module.magnitude {
            take("m", &[module.out_features], range.clone())?;
        }
    }
    let used = (layout.modules.len() - usize::from(shared.is_some())) * if dora { 3 } else { 2 };
    if tensors.len() != used {
        return Err(Fault::new(
            "it holds DoRA's magnitudes, but its config says lora",
        ));
    }
    Ok(params)
}

/// Rows become columns; a vector stays as it is.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows.max(1);
    (0..columns)
        .flat_map(|j| (0..rows).map(move |i| values[i * columns + j]))
        .collect()
}

impl Adapter {
    /// Writes adapters.safetensors and adapter_config.json into an existing folder, for mlx-lm to load on the model with
    /// these modules.
    ///
    /// # Errors
    /// If the adapter holds what mlx-lm has no place for, or a file can't be written.
    pub fn save_mlx(&self, dir: &Path, modules: &[Module]) -> Result<(), Error> {
        if self.origin.is_some() {
            return self.clone().into_plain()?.save_mlx(dir, modules);
        }
        self.fits_mlx(modules)?;
        let Some(first) = self.modules.first() else {
            return Err(Error::config("the adapter has no modules".to_owned()));
        };
        let rank = self
            .modules
            .iter()
            .map(|m| m.rank)
            .max()
            .unwrap_or(first.rank);
        let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        let with_the_table =
            |m: &TargetedModule| tied(modules).is_some_and(|(_, head)| head.path == m.path);
        for (index, module) in self
            .modules
            .iter()
            .enumerate()
            .filter(|(_, m)| !with_the_table(m))
        {
            let (a, b) = self.padded(index, rank, module.scaling / first.scaling);
            let mut put = |suffix: &str, shape: Vec<usize>, values| {
                tensors.insert(format!("{}.{suffix}", module.path), (shape, values));
            };
            put("lora_a", vec![module.in_features, rank], a);
            put("lora_b", vec![rank, module.out_features], b);
            if let Some(range) = &module.magnitude {
                put(
                    "m",
                    vec![module.out_features],
                    self.params[range.clone()].to_vec(),
                );
            }
        }
        let path = dir.join(MLX_WEIGHTS_FILE);
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, (shape, values))| {
                Ok((
                    name,
                    TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?,
                ))
            })
            .collect();
        let metadata = HashMap::from([("format".to_owned(), "mlx".to_owned())]);
        let bytes = views
            .and_then(|views| safetensors::serialize(views, Some(metadata)))
            .map_err(|e: safetensors::SafeTensorError| Error::invalid(&path, e.to_string()))?;
        std::fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        let path = dir.join(CONFIG_FILE);
        let text = serde_json::to_string_pretty(&self.mlx_config(rank, first.scaling, modules))
            .unwrap_or_default();
        std::fs::write(&path, text).map_err(Error::io("write", &path))
    }

    fn fits_mlx(&self, modules: &[Module]) -> Result<(), Error> {
        let fail = |what: &str| {
            Err(Error::config(format!("mlx-lm has no place for {what}"))
                .hint("merge the adapter (lora-merge) and convert the model with mlx_lm.convert"))
        };
        if let Some(tensor) = self.trained.first() {
            return fail(&format!("fully trained tensors such as {}", tensor.tensor));
        }
        if self.config.lora_bias {
            return fail("lora_bias");
        }
        if self
            .modules
            .iter()
            .any(|m| m.is_embedding() && m.magnitude.is_some())
        {
            return fail("DoRA on an embedding with PEFT's magnitudes");
        }
        if tied(modules).is_some_and(|(table, head)| !self.is_one_adapter(table, head)) {
            return fail(
                "an adapter on one side of a tied embedding and head, it applies the same to both",
            );
        }
        Ok(())
    }

    /// Whether embedding and head carry nothing, or the same: the head's A is the embedding's Bᵀ, its B the embedding's Aᵀ.
    fn is_one_adapter(&self, table: &Module, head: &Module) -> bool {
        match (self.find(&table.path), self.find(&head.path)) {
            (None, None) => true,
            (Some(table), Some(head)) => {
                let ((a, b), (head_a, head_b)) = (self.factors(table), self.factors(head));
                let (table, head) = (&self.modules[table], &self.modules[head]);
                let same = table.rank == head.rank && table.scaling == head.scaling;
                same && transposed(a, table.rank) == head_b
                    && transposed(b, table.out_features) == head_a
            }
            _ => false,
        }
    }

    /// Aᵀ and s·Bᵀ of a module with zeros up to a rank.
    fn padded(&self, index: usize, rank: usize, fold: f32) -> (Vec<f32>, Vec<f32>) {
        let TargetedModule {
            in_features,
            out_features,
            rank: own,
            ..
        } = self.modules[index];
        let (a, b) = self.factors(index);
        let (mut wide_a, mut wide_b) = (
            vec![0.0; in_features * rank],
            vec![0.0; rank * out_features],
        );
        for i in 0..own {
            (0..in_features).for_each(|j| wide_a[j * rank + i] = a[i * in_features + j]);
            (0..out_features).for_each(|j| wide_b[i * out_features + j] = fold * b[j * own + i]);
        }
        (wide_a, wide_b)
    }

    /// mlx-lm puts LoRA on `keys` in the last `num_layers` layers, and on keys outside of layers.
    fn mlx_config(&self, rank: usize, scale: f32, modules: &[Module]) -> Value {
        let layers = modules
            .iter()
            .filter_map(|m| layer(&m.path))
            .map(|(n, _)| n + 1)
            .max()
            .unwrap_or(0);
        let first = self
            .modules
            .iter()
            .filter_map(|m| layer(&m.path))
            .map(|(n, _)| n)
            .min();
        let own = self
            .modules
            .iter()
            .filter(|m| tied(modules).is_none_or(|(_, head)| head.path != m.path));
        let keys: BTreeSet<&str> = own
            .map(|m| layer(&m.path).map_or(&*m.path, |(_, key)| key))
            .collect();
        let mut config = json!({
            "fine_tune_type": if self.config.use_dora { "dora" } else { "lora" },
            "lora_parameters": {
                "dropout": self.config.lora_dropout,
                "keys": keys,
                "rank": rank,
                "scale": shortest(scale),
            },
            "num_layers": first.map_or(1, |first| layers.saturating_sub(first)),
        });
        if let (Some(fields), Some(model)) =
            (config.as_object_mut(), &self.config.base_model_name_or_path)
        {
            fields.insert("model".to_owned(), json!(model));
        }
        config
    }
}

/// `model.layers.3.self_attn.q_proj` → (3, `self_attn.q_proj`).
fn layer(path: &str) -> Option<(usize, &str)> {
    let (_, rest) = path.split_once(".layers.")?;
    let (number, key) = rest.split_once('.')?;
    Some((number.parse().ok()?, key))
}

/// The double with the decimals of a float, so that 0.1 stays 0.1.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
