//! mlx-lm's folder written.
use super::tied::tied;
use crate::folder::MLX_WEIGHTS_FILE;
use crate::layout::TargetedModule;
use crate::values::transposed;
use crate::{Adapter, CONFIG_FILE, Error, Fault, Module};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

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
            Err(Error::config(
                Fault::new(format!("mlx-lm has no place for {what}")).hint(
                    "merge the adapter (lora-merge) and convert the model with mlx_lm.convert",
                ),
            ))
        };
        if let Some(tensor) = self.trained.first() {
            return fail(&format!("fully trained tensors such as {}", tensor.tensor));
        }
        if !self.rows.is_empty() {
            return fail("rows of the vocabulary (trainable_token_indices)");
        }
        if self.config.targets_parameters() {
            return fail(
                "LoRA on experts or a router (target_parameters) as PEFT shares it between gate and up",
            );
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
