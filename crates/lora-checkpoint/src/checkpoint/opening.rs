//! Opening a model: its files, its weights by name, and whether they are those that its config calls for.
use super::Checkpoint;
use crate::config_json::{self, Loaded};
use crate::error::{Error, Fault, Result, invalid, io};
use crate::families::is_rounded;
use crate::gguf::split::{self, Opened};
use crate::gguf::{config::model_config, entries::entries, rope_written::rounded};
use crate::view::TensorView;
use crate::{ModelConfig, expert_rows, safetensors_files, text_part};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is said of a mixture of experts.
fn of_experts(config: &ModelConfig) -> Option<String> {
    let experts = config.experts?;
    let takes_mlps = experts.shared.is_some() || !config.facts().experts?.are_parameters;
    let has_others =
        |layer: usize| config.layers[layer].keeps_state() || (takes_mlps && config.has_mlp(layer));
    let sets = match (0..config.num_hidden_layers).any(has_others) {
        false => "its attention",
        true => "its other linear layers",
    };
    Some(format!(
        "router and experts of this model train only where --target-parameters names them: sets of targets are {sets}"
    ))
}

impl Checkpoint {
    /// Opens a Hugging Face folder, a `.gguf` file, or a folder that holds exactly one `.gguf` or all parts of one that is split.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(io("open", path))?;
        if !metadata.is_dir() {
            if path
                .file_name()
                .is_some_and(|n| n == "config.json" || n == "model.safetensors")
            {
                return Err(
                    invalid(path, "not a model by itself").hint("name the folder that holds it")
                );
            }
            return Self::open_gguf(path, path);
        }
        if path.join("config.json").is_file() {
            return Self::open_folder(path);
        }
        let ggufs = gguf_files(path)?;
        match ggufs.as_slice() {
            parts if split::are_parts(path, parts)? => {
                Self::of_gguf(path, split::open_parts(path, parts)?)
            }
            [one] => Self::open_gguf(path, one),
            [] if path.join("adapter_config.json").is_file() => {
                Err(invalid(path, "an adapter, not a model: no config.json")
                    .hint("name the base model here and the adapter with --adapter"))
            }
            [] => Err(invalid(path, "no config.json and no .gguf file")
                .hint("name a Hugging Face model folder or a GGUF file")),
            many if many.iter().any(|file| split::is_part(file)) => Err(invalid(
                path,
                format!("{} .gguf files, some of them parts of a model", many.len()),
            )
            .hint("put the parts of one model into a folder of their own, and name that")),
            many => Err(invalid(path, format!("{} .gguf files", many.len()))
                .hint(format!("name one of them, e.g. {}", many[0].display()))),
        }
    }

    fn open_folder(path: &Path) -> Result<Self> {
        let Loaded {
            config,
            has_towers,
            notes,
        } = config_json::load(&path.join("config.json"))?;
        let frozen = of_experts(&config);
        let notes = notes.into_iter().chain(frozen).collect();
        let (files, entries) = safetensors_files::open(path)?;
        let mut entries = text_part::weights(entries, has_towers);
        expert_rows::apart(&config, &mut entries).map_err(|fault| invalid(path, fault))?;
        let mut model = Self {
            path: path.to_path_buf(),
            config,
            files,
            entries,
            gguf: None,
            notes,
            chat: None,
            added: None,
            enlarged: BTreeMap::new(),
            is_widened: false,
            added_end: None,
        };
        model
            .entries
            .retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
        let unread = model.config.facts().unread_weights;
        let is_read = |name: &str| !unread.iter().any(|begin| name.starts_with(begin));
        let config = &model.config;
        let entries = &mut model.entries;
        entries.retain(|name, _| is_read(name) && !config.is_left_unread(name));
        if model.config.tie_word_embeddings {
            model.entries.remove("lm_head.weight");
        }
        model.take_constants()?;
        model.check_weights()?;
        Ok(model)
    }

    fn open_gguf(path: &Path, file: &Path) -> Result<Self> {
        Self::of_gguf(path, split::open(file)?)
    }

    fn of_gguf(path: &Path, opened: Opened) -> Result<Self> {
        let Opened { files, gguf } = opened;
        let wrap = |fault: Fault| invalid(files[0].path(), fault);
        let config = model_config(&gguf, &files).map_err(wrap)?;
        let entries = entries(&config, &gguf).map_err(wrap)?;
        let frozen = of_experts(&config);
        let notes = frozen.into_iter().chain(rounded(&config)).collect();
        let model = Self {
            path: path.to_path_buf(),
            config,
            files,
            entries,
            gguf: Some(gguf),
            notes,
            chat: None,
            added: None,
            enlarged: BTreeMap::new(),
            is_widened: false,
            added_end: None,
        };
        model.check_weights()?;
        model.check_rates()?;
        Ok(model)
    }

    /// Rates of decay, which GGUF stores as such, are negative.
    fn check_rates(&self) -> Result<()> {
        for (name, entry) in self.entries.iter().filter(|(_, entry)| entry.is_rate) {
            let file = &self.files[entry.file];
            let values = TensorView::new(name, entry, file.bytes()).to_f32();
            if !values.iter().all(|value| value.is_finite()) {
                let message = format!("tensor {name} holds a rate of decay that is not negative");
                return Err(invalid(file.path(), message));
            }
        }
        Ok(())
    }

    /// Leaves out what transformers keeps beside the weights, if it has the values of its class.
    fn take_constants(&mut self) -> Result<()> {
        for (name, constant) in self.config.constants() {
            let Some(entry) = self.entries.remove(&name) else {
                continue;
            };
            let file = &self.files[entry.file];
            let stored = TensorView::new(&name, &entry, file.bytes()).to_f32();
            let is_same = |x: &f32| is_rounded(*x, constant);
            if stored.len() != 1 || !stored.iter().all(is_same) {
                let message = format!(
                    "{name} is {stored:?}, only {constant} is supported, as transformers has it"
                );
                return Err(invalid(file.path(), message));
            }
        }
        Ok(())
    }

    /// Every weight of the config is present in its shape, and nothing else is.
    fn check_weights(&self) -> Result<()> {
        let mut expected = self.config.weights();
        for (name, shape) in &expected {
            let Some(entry) = self.entries.get(name) else {
                return Err(invalid(&self.path, format!("tensor {name} is missing"))
                    .hint("is every shard there?"));
            };
            if entry.shape != *shape {
                return Err(invalid(
                    self.files[entry.file].path(),
                    format!(
                        "tensor {name} has shape {:?}, the config calls for {shape:?}",
                        entry.shape
                    ),
                ));
            }
        }
        expected.sort();
        let unknown = self
            .entries
            .keys()
            .find(|n| expected.binary_search_by(|(e, _)| e.cmp(n)).is_err());
        match unknown {
            None => Ok(()),
            Some(name) => Err(invalid(
                self.files[self.entries[name].file].path(),
                format!("tensor {name} has no place in this decoder"),
            )
            .hint("is the config that of another model?")),
        }
    }
}

/// The .gguf files of a folder, sorted.
fn gguf_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io("read", dir))? {
        let path = entry.map_err(io("read", dir))?.path();
        if path.extension().is_some_and(|e| e == "gguf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
