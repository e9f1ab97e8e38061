//! All weights of a decoder as the trainable; saves a Hugging Face folder.
use crate::error::{Error, Result, failed};
use crate::pack::pack;
use crate::trainable::{BatchLoss, MicroBatch, RowSize, Slot, Trainable};
use lora_checkpoint::Chat;
use lora_data::Example;
use lora_model::FullModel;
use serde::{Deserialize, Serialize};
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

/// How full weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightDtype {
    /// bfloat16.
    Bf16,
    /// 32-bit float.
    F32,
}

/// All weights of a decoder.
pub struct FullTrainable {
    model: FullModel,
    slots: Vec<Slot>,
    base: PathBuf,
    config: serde_json::Map<String, serde_json::Value>,
    dtype: WeightDtype,
    chat: Option<Chat>,
    end: Option<u32>,
}

impl FullTrainable {
    /// `base` is the folder that the config and the tokenizer come from; without a `dtype` its config's is used. Norms
    /// and biases don't decay, as in transformers' trainer.
    ///
    /// # Errors
    /// If its config can't be read.
    pub fn new(model: FullModel, base: &Path, dtype: Option<WeightDtype>) -> Result<Self> {
        let path = base.join("config.json");
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
            .map_err(|e| Error::Invalid {
                path: path.clone(),
                what: format!("not JSON: {e}"),
            })?;
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
            chat: None,
            end: None,
        })
    }

    /// How the rows' chats are written goes into every folder; None leaves the base's own.
    #[must_use]
    pub fn with_chat(mut self, chat: Option<Chat>) -> Self {
        self.chat = chat;
        self
    }

    /// The token with which rows end answers, where the base does not stop at it: every folder's model does.
    #[must_use]
    pub fn ending_at(mut self, end: Option<u32>) -> Self {
        self.end = end;
        self
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
        let text = serde_json::Value::from(config);
        fs::write(&path, format!("{text:#}\n")).map_err(failed("write", &path))
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
    type Row = Example;

    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn params(&self) -> &[f32] {
        &self.model.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.model.params
    }

    fn size(&self, row: &Example) -> RowSize {
        RowSize::of(row)
    }

    fn gradients(
        &mut self,
        rows: &[&Example],
        batch: MicroBatch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss> {
        let packed = pack(rows);
        let (rows, balance) = match batch.scales() {
            None => (self.model.gradients(&packed, batch.scale, gradients)?, None),
            Some(scales) => {
                let (rows, balance) = self.model.balanced_gradients(&packed, scales, gradients)?;
                (rows, Some(balance))
            }
        };
        Ok(BatchLoss {
            rows,
            tokens: packed.tokens(),
            computed: packed.tokens(),
            balance,
        })
    }

    fn losses(&mut self, rows: &[&Example]) -> Result<BatchLoss> {
        let packed = pack(rows);
        Ok(BatchLoss {
            rows: self.model.losses(&packed)?,
            tokens: packed.tokens(),
            computed: packed.tokens(),
            balance: None,
        })
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
                // Written anew, so that a read-only base gives no read-only copy.
                let bytes = fs::read(&from).map_err(failed("read", &from))?;
                fs::write(dir.join(name), bytes).map_err(failed("write", &dir.join(name)))?;
            }
        }
        let chat = match &self.chat {
            Some(chat) => Ok(chat.clone()),
            None => Chat::of_folder(&self.base),
        };
        chat.and_then(|chat| chat.write(dir))
            .map_err(lora_model::Error::from)?;
        if let Some(end) = self.end {
            lora_checkpoint::add_end(dir, end).map_err(lora_model::Error::from)?;
        }
        Ok(())
    }
}
