//! Which files are read for which split: those named, and in folders those whose names say so, as Hugging Face and mlx-lm
//! lay them out.
use crate::Args;
use lora_cli::{Error, Result};
use lora_data::SplitName;
use std::path::{Path, PathBuf};

/// How a split's files are called, in any case; longer words first.
const NAMES: [(&str, SplitName); 8] = [
    ("validation", SplitName::Valid),
    ("train", SplitName::Train),
    ("valid", SplitName::Valid),
    ("val", SplitName::Valid),
    ("dev", SplitName::Valid),
    ("eval", SplitName::Valid),
    ("testing", SplitName::Test),
    ("test", SplitName::Test),
];

/// Files of rows by their extension.
const KINDS: [&str; 6] = ["jsonl", "json", "ndjson", "csv", "tsv", "parquet"];

/// A file of raw rows.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The split that it is for; None if rows are to be divided.
    pub(crate) split: Option<SplitName>,
}

impl Source {
    /// All sources of a command line, those to train on first.
    pub(crate) fn all(args: &Args) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        for path in &args.raw {
            match path.is_dir() {
                true => sources.extend(of_folder(path)?),
                false => sources.push(Self {
                    path: path.clone(),
                    split: None,
                }),
            }
        }
        let named = [
            (&args.valid_file, SplitName::Valid),
            (&args.test_file, SplitName::Test),
        ];
        for (paths, split) in named {
            sources.extend(paths.iter().map(|path| Self {
                path: path.clone(),
                split: Some(split),
            }));
        }
        // Of equal rows the one to train on stays.
        sources.sort_by_key(|source| source.split.filter(|name| *name != SplitName::Train));
        Ok(sources)
    }
}

/// The files of a folder, or of `data` in it, by the split that their names begin with.
fn of_folder(folder: &Path) -> Result<Vec<Source>> {
    let mut files = files(folder)?;
    if files.is_empty() && folder.join("data").is_dir() {
        files = self::files(&folder.join("data"))?;
    }
    let of = |path: PathBuf| {
        let split = split(&path);
        Source { path, split }
    };
    let sources: Vec<Source> = files.into_iter().map(of).collect();
    let error = |what: &str| Error::new(format!("{}: this is a folder{what}", folder.display()));
    let unnamed = sources.iter().find(|source| source.split.is_none());
    match (sources.as_slice(), unnamed) {
        ([], _) => Err(error(" without files of rows").hint(format!(
            "name the files, or put train.jsonl (and valid.jsonl, test.jsonl) into it; {} are read",
            KINDS.join(", ")
        ))),
        (_, Some(other)) => Err(error("").hint(format!(
            "{} says no split by its name: name the files to train on, and those held out with --valid-file and --test-file",
            other.path.display()
        ))),
        _ => Ok(sources.into_iter().map(for_training).collect()),
    }
}

/// Rows of a training file may be divided where no file is held out.
fn for_training(source: Source) -> Source {
    Source {
        split: source.split.filter(|name| *name != SplitName::Train),
        ..source
    }
}

/// The files of rows in a folder, in order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        Error::foreign(error).context(format!("failed to read {}", folder.display()))
    })?;
    let is_rows = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        path.is_file() && extension.is_some_and(|e| KINDS.contains(&e.as_str()))
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_rows)
        .collect();
    files.sort();
    Ok(files)
}

/// The split that a file's name says: one of the words, and no letter behind it.
fn split(path: &Path) -> Option<SplitName> {
    let stem = path.file_stem()?.to_string_lossy().to_lowercase();
    let says = |word: &str| {
        let rest = stem.strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
    };
    NAMES
        .iter()
        .find(|(word, _)| says(word))
        .map(|(_, name)| *name)
}
