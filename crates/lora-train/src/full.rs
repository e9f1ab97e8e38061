//! All weights of a decoder as the trainable, for `--method full`; saves a Hugging Face folder.
use crate::args::WeightDtype;
use crate::checkpoint::failed;
use crate::trainable::{Slot, Trainable};
use lora_cli::{Error, Result};
use lora_model::{FullModel, Packed, SequenceLoss};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Files beside the weights that make a folder a whole model; copied where the base has them.
const COMPANIONS: [&str; 10] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "LICENSE",
];

/// All weights of a decoder.
pub(crate) struct FullTrainable {
    model: FullModel,
    slots: Vec<Slot>,
    base: PathBuf,
    config: serde_json::Map<String, serde_json::Value>,
    dtype: WeightDtype,
}

impl FullTrainable {
    /// `base` is the folder that the config and the tokenizer come from; without a `dtype` its config's is used. Norms
    /// and biases don't decay, as in transformers' trainer.
    pub(crate) fn new(model: FullModel, base: &Path, dtype: Option<WeightDtype>) -> Result<Self> {
        let path = base.join("config.json");
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
            .map_err(|e| Error::from(e).context(format!("{} is not JSON", path.display())))?;
        let slot = |(name, shape, range): &(String, Vec<usize>, Range<usize>)| Slot {
            name: name.clone(),
            range: range.clone(),
            decays: shape.len() > 1,
            rate: 1.0,
            follows: None,
        };
        let slots = model.tensors.iter().map(slot).collect();
        let dtype = dtype.unwrap_or_else(|| dtype_of(&config));
        Ok(Self {
            model,
            slots,
            base: base.to_path_buf(),
            config,
            dtype,
        })
    }

    /// The base's config, with the dtype of the weights that lie beside it.
    fn save_config(&self, dir: &Path) -> Result<()> {
        let mut config = self.config.clone();
        let key = if config.contains_key("torch_dtype") {
            "torch_dtype"
        } else {
            "dtype"
        };
        let name = if self.dtype == WeightDtype::Bf16 {
            "bfloat16"
        } else {
            "float32"
        };
        config.insert(key.to_owned(), name.into());
        let path = dir.join("config.json");
        let text = serde_json::to_string_pretty(&config)? + "\n";
        fs::write(&path, text).map_err(failed("write", &path))
    }
}

/// The dtype that a config.json asks for.
fn dtype_of(config: &serde_json::Map<String, serde_json::Value>) -> WeightDtype {
    let name = config
        .get("dtype")
        .or_else(|| config.get("torch_dtype"))
        .and_then(serde_json::Value::as_str);
    if name == Some("bfloat16") {
        WeightDtype::Bf16
    } else {
        WeightDtype::F32
    }
}

impl Trainable for FullTrainable {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn params(&self) -> &[f32] {
        &self.model.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.model.params
    }

    fn gradients(
        &mut self,
        packed: &Packed,
        _micro_step: u64,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>> {
        Ok(self.model.gradients(packed, scale, gradients)?)
    }

    fn losses(&mut self, packed: &Packed) -> Result<Vec<SequenceLoss>> {
        Ok(self.model.losses(packed)?)
    }

    fn save(&self, params: &[f32], dir: &Path) -> Result<()> {
        let model = FullModel {
            config: self.model.config.clone(),
            tensors: self.model.tensors.clone(),
            params: params.to_vec(),
        };
        model.save(dir, self.dtype == WeightDtype::Bf16)?;
        self.save_config(dir)?;
        for name in COMPANIONS {
            let from = self.base.join(name);
            if from.is_file() {
                fs::copy(&from, dir.join(name)).map_err(failed("copy", &from))?;
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        lora_core::trainable_line(
            self.model.params.len() as u64,
            self.model.params.len() as u64,
            0,
        )
    }
}
