//! Which files of a repository a tool needs: never pickles, whose reading runs what is in them.
mod paths;

use crate::error::{Error, Result, refused};
use crate::listing::Entry;
use crate::name::{Kind, Name};
use paths::{
    LAYOUT, PICKLES, ROWS, ending, folder_of, is_beside_weights, is_read, is_rows, split_model,
};

/// What a repository is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A model: its configuration, tokenizer, templates and safetensors, or one GGUF file.
    Model,
    /// The shape of a model: its configuration, or one GGUF file.
    Shape,
    /// An adapter's folder, or one GGUF file.
    Adapter,
    /// A dataset that lora-prep made.
    Dataset,
    /// Raw rows.
    Rows,
}

/// So many names a hint has.
const NAMED: usize = 8;

/// The files to fetch, and which of them, or which folder, is what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) files: Vec<Entry>,
    /// Below the repository; empty is all of it.
    pub(crate) place: String,
}

impl Want {
    /// The kind of repository that holds it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Model | Self::Shape | Self::Adapter => Kind::Model,
            Self::Dataset | Self::Rows => Kind::Dataset,
        }
    }

    /// Chooses among a repository's files.
    pub(crate) fn choose(self, name: &Name, all: &[Entry]) -> Result<Chosen> {
        let Some(file) = &name.file else {
            return self.of_folder(name, all, String::new());
        };
        if let Some(entry) = all.iter().find(|entry| entry.path == *file) {
            return self.one(name, entry, all);
        }
        let folder = format!("{file}/");
        if all.iter().any(|entry| entry.path.starts_with(&folder)) {
            return self.of_folder(name, all, folder);
        }
        let ending = ending(file);
        let alike = all
            .iter()
            .filter(|entry| self::ending(&entry.path) == ending);
        Err(refused(
            format!("{name}: {} holds no such file", name.repository()),
            match names(alike) {
                None => format!("{} without a file takes what is needed", name.repository()),
                Some(names) => format!("it has {names}"),
            },
        ))
    }

    /// A file that was named.
    fn one(self, name: &Name, entry: &Entry, all: &[Entry]) -> Result<Chosen> {
        let fits = match self {
            Self::Model | Self::Adapter | Self::Shape => ending(&entry.path) == "gguf",
            Self::Rows => is_rows(&entry.path),
            Self::Dataset => false,
        };
        if PICKLES.contains(&ending(&entry.path)) {
            return Err(pickle(name, &entry.path));
        }
        if !fits {
            let what = match self {
                Self::Rows => format!("it is none of {}", ROWS.join(", ")),
                Self::Dataset => "a dataset is a folder".to_owned(),
                _ => "of single files only GGUF is read".to_owned(),
            };
            let way = name.repository();
            return Err(refused(
                format!("{name}: {what}"),
                format!("name the repository, or the folder in it: {way}"),
            ));
        }
        if let Some(model) = split_model(&entry.path) {
            let parts = all
                .iter()
                .filter(|other| split_model(&other.path) == Some(model));
            return Ok(Chosen {
                files: parts.cloned().collect(),
                place: folder_of(&entry.path).to_owned(),
            });
        }
        Ok(Chosen {
            files: vec![entry.clone()],
            place: entry.path.clone(),
        })
    }

    /// What is needed of a folder, whose name ends in `/`.
    fn of_folder(self, name: &Name, all: &[Entry], folder: String) -> Result<Chosen> {
        let inside = |entry: &&Entry| entry.path.starts_with(&folder);
        let within: Vec<&Entry> = all.iter().filter(inside).collect();
        let here = Here {
            name,
            files: within
                .iter()
                .map(|e| (&e.path[folder.len()..], *e))
                .collect(),
        };
        let files = match self {
            Self::Model => here.model(false)?,
            Self::Shape => here.model(true)?,
            Self::Adapter => here.adapter()?,
            Self::Dataset => here.dataset()?,
            Self::Rows => here.rows()?,
        };
        let place = match &files[..] {
            [one] if ending(&one.path) == "gguf" => one.path.clone(),
            [part, _, ..] if split_model(&part.path).is_some() => folder_of(&part.path).to_owned(),
            _ => folder.trim_end_matches('/').to_owned(),
        };
        Ok(Chosen {
            files: files.into_iter().cloned().collect(),
            place,
        })
    }
}

/// The files of a folder, by their way in it.
struct Here<'l> {
    name: &'l Name,
    files: Vec<(&'l str, &'l Entry)>,
}

impl<'l> Here<'l> {
    fn has(&self, file: &str) -> bool {
        self.files.iter().any(|(path, _)| *path == file)
    }

    fn filter(&self, wanted: impl Fn(&str) -> bool) -> Vec<&'l Entry> {
        let found = self.files.iter().filter(|(path, _)| wanted(path));
        found.map(|(_, entry)| *entry).collect()
    }

    fn model(&self, shape_alone: bool) -> Result<Vec<&'l Entry>> {
        let name = self.name;
        if !self.has("config.json") {
            if self.has("adapter_config.json") {
                return Err(refused(
                    format!("{name} is an adapter, not a model"),
                    "name it with --adapter, and its base with --base",
                ));
            }
            return self.only_gguf();
        }
        if shape_alone {
            return Ok(self.filter(|path| path == "config.json"));
        }
        let is_weights = |path: &str| {
            !path.contains('/') && path.starts_with("model") && ending(path) == "safetensors"
        };
        let has_pickle = |path: &str| !path.contains('/') && PICKLES.contains(&ending(path));
        let pickles = self.filter(has_pickle);
        if let (Some(first), true) = (pickles.first(), self.filter(is_weights).is_empty()) {
            return Err(pickle(name, &first.path));
        }
        let single = self.has("model.safetensors");
        Ok(self.filter(|path| match path {
            "model.safetensors.index.json" => !single,
            path if is_weights(path) => !single || path == "model.safetensors",
            path => is_beside_weights(path),
        }))
    }

    /// The one GGUF file that there is, or all parts of the one model that there is.
    fn only_gguf(&self) -> Result<Vec<&'l Entry>> {
        let name = self.name;
        let found = self.filter(|path| ending(path) == "gguf");
        let model = found.first().and_then(|first| split_model(&first.path));
        let is_one = |entry: &&Entry| split_model(&entry.path) == model;
        match (&found[..], names(found.iter().copied())) {
            ([_], _) => Ok(found),
            _ if model.is_some() && found.iter().all(is_one) => Ok(found),
            (_, Some(names)) => Err(refused(
                format!(
                    "{name} holds {} GGUF files, and no config.json",
                    found.len()
                ),
                format!(
                    "name one of them: {}/FILE; it has {names}",
                    name.repository()
                ),
            )),
            (_, None) => Err(refused(
                format!("{name} holds no model: neither config.json nor a GGUF file"),
                self.elsewhere(
                    "config.json",
                    "is it a dataset, or the name of another repository?",
                ),
            )),
        }
    }

    fn adapter(&self) -> Result<Vec<&'l Entry>> {
        let name = self.name;
        let is_adapter = self.has("adapter_config.json");
        let found = self.filter(|path| is_adapter && !path.contains('/') && is_read(path));
        if !is_adapter {
            return Err(refused(
                format!("{name} holds no adapter: it has no adapter_config.json"),
                self.elsewhere("adapter_config.json", "a model is named with --base"),
            ));
        }
        let has_weights = found
            .iter()
            .any(|entry| ending(&entry.path) == "safetensors");
        match self
            .filter(|path| !path.contains('/') && path.starts_with("adapter_model.bin"))
            .first()
        {
            Some(first) if !has_weights => Err(pickle(name, &first.path)),
            _ => Ok(found),
        }
    }

    fn dataset(&self) -> Result<Vec<&'l Entry>> {
        let name = self.name;
        if !self.has("dataset.json") {
            return Err(refused(
                format!("{name} is no dataset that lora-prep made: it has no dataset.json"),
                format!("raw rows are prepared first: lora-prep {name} --base MODEL --out DIR"),
            ));
        }
        // A dataset with added tokens has a tokenizer of its own.
        let is_own = |path: &str| !path.contains('/') || path.starts_with("tokenizer/");
        Ok(self.filter(|path| is_own(path) && is_read(path)))
    }

    /// Rows at the top, or in `data`, or in the folders of a saved `DatasetDict`.
    fn rows(&self) -> Result<Vec<&'l Entry>> {
        let is_saved = LAYOUT.iter().any(|file| self.has(file));
        let is_layout = |path: &str| LAYOUT.contains(&path.rsplit('/').next().unwrap_or(path));
        let of = |folder: &str| {
            self.filter(|path| {
                let rest = path.strip_prefix(folder);
                rest.is_some_and(|file| !file.contains('/') && is_rows(file))
            })
        };
        let found = match is_saved {
            true => self.filter(|path| is_layout(path) || ending(path) == "arrow"),
            false => Some(of(""))
                .filter(|top| !top.is_empty())
                .unwrap_or_else(|| of("data/")),
        };
        let deeper = self.filter(is_rows);
        match (found.is_empty(), names(deeper.iter().copied())) {
            (false, _) => Ok(found),
            (true, Some(names)) => Err(refused(
                format!("{}: its rows lie in folders of its own", self.name),
                format!(
                    "name a file or a folder of them: {}/FILE; it has {names}",
                    self.name.repository()
                ),
            )),
            (true, None) => Err(refused(
                format!("{} holds no files of rows", self.name),
                format!(
                    "{} are read; many datasets have parquet files at the revision refs/convert/parquet: {}@refs/convert/parquet/default/train",
                    ROWS.join(", "),
                    self.name.repository()
                ),
            )),
        }
    }

    /// Folders that hold a file of that name; else another hint.
    fn elsewhere(&self, file: &str, otherwise: &str) -> String {
        let end = format!("/{file}");
        let folders = self
            .files
            .iter()
            .filter_map(|(path, _)| path.strip_suffix(&end));
        let folders: Vec<&str> = folders.take(NAMED).collect();
        match folders.is_empty() {
            true => otherwise.to_owned(),
            false => format!(
                "these folders do, and can be named like a file: {}",
                folders.join(", ")
            ),
        }
    }
}

/// Some names, for a hint.
fn names<'l>(entries: impl Iterator<Item = &'l Entry>) -> Option<String> {
    let all: Vec<&str> = entries.map(|entry| entry.path.as_str()).collect();
    let first = all
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match all.len() {
        0 => None,
        1..=NAMED => Some(first),
        more => Some(format!("{first} and {} more", more - NAMED)),
    }
}

fn pickle(name: &Name, file: &str) -> Error {
    refused(
        format!(
            "{name}: {file} is a pickle, whose reading would run what is in it, and there are no safetensors"
        ),
        format!(
            "the hub converts: see the pull requests of {}, and name one as a revision: {}@refs/pr/NUMBER",
            name.repository(),
            name.repository()
        ),
    )
}

#[cfg(test)]
mod tests;
