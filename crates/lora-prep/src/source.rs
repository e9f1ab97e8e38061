//! Which files are read for which split: those named, and in folders those whose names say so, as Hugging Face and mlx-lm
//! lay them out.
use crate::Args;
use lora_cli::{Error, Result};
use lora_data::SplitName;
use std::path::{Path, PathBuf};

/// The column of each row's source in a dataset of several.
pub(crate) const SOURCE: &str = "source";

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

/// Files of rows by their extension; all but the last two may be packed.
const KINDS: [&str; 7] = ["jsonl", "json", "ndjson", "csv", "tsv", "parquet", "arrow"];

/// Extensions of packed files.
const PACKED: [&str; 4] = ["gz", "zst", "zstd", "xz"];

/// Files of a folder that Hugging Face's datasets wrote beside the rows.
const ABOUT: [&str; 4] = [
    "state.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
];

/// A file of raw rows.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// The split that it is for; None if rows are to be divided.
    pub(crate) split: Option<SplitName>,
    /// The file, folder or pattern that the command line named.
    pub(crate) given: String,
}

impl Source {
    fn file(path: PathBuf, split: Option<SplitName>) -> Self {
        let given = path.display().to_string();
        Self { path, split, given }
    }

    /// All sources of a command line, those to train on first.
    pub(crate) fn all(args: &Args) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        for path in &args.raw {
            let given = path.display().to_string();
            for path in matching(&lora_cli::hub_rows(path)?)? {
                let mut found = match path.is_dir() {
                    true => of_folder(&path)?,
                    false => vec![Self::file(path, None)],
                };
                for source in &mut found {
                    source.given.clone_from(&given);
                }
                sources.extend(found);
            }
        }
        let named = [
            (&args.valid_file, SplitName::Valid),
            (&args.test_file, SplitName::Test),
        ];
        for (paths, split) in named {
            for path in paths {
                let found = matching(&lora_cli::hub_rows(path)?)?.into_iter();
                sources.extend(found.map(|path| Self::file(path, Some(split))));
            }
        }
        // Of equal rows the one to train on stays.
        sources.sort_by_key(|source| source.split.filter(|name| *name != SplitName::Train));
        Ok(sources)
    }
}

/// The files that a pattern (`rows/*.jsonl`) names; a path that exists stands for itself, whatever it is called.
fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    if path.exists() || !text.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    let paths = glob::glob(&text).map_err(|error| Error::new(format!("{text}: {error}")))?;
    let found: Vec<PathBuf> = paths.flatten().collect();
    match found.is_empty() {
        true => Err(Error::new(format!("{text}: no file has such a name"))
            .hint("* stands for any part of a name, ** for any folders")),
        false => Ok(found),
    }
}

/// The files of a folder, or of `data` in it, by the split that their names begin with. In a folder that Hugging Face's
/// datasets saved, all files are one split, or each folder is the split that it is called by.
fn of_folder(folder: &Path) -> Result<Vec<Source>> {
    if folder.join("state.json").is_file() {
        let all = files(folder)?.into_iter();
        return Ok(all.map(|path| Source::file(path, None)).collect());
    }
    if folder.join("dataset_dict.json").is_file() {
        return of_saved_splits(folder);
    }
    let mut files = files(folder)?;
    if files.is_empty() && folder.join("data").is_dir() {
        files = self::files(&folder.join("data"))?;
    }
    let of = |path: PathBuf| {
        let split = split(&path);
        Source::file(path, split)
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

/// The folders of a saved `DatasetDict`.
fn of_saved_splits(folder: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for part in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let Some(name) = split(&part) else {
            let what = format!("{}: this says no split by its name", part.display());
            return Err(Error::new(what).hint(
                "name the folder to train on, and those held out with --valid-file and --test-file",
            ));
        };
        let all = files(&part)?.into_iter();
        let of = |path| Source::file(path, Some(name));
        sources.extend(all.map(of).map(for_training));
    }
    Ok(sources)
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
    let mut files = entries(folder)?;
    files.retain(|path| path.is_file() && is_rows(path));
    Ok(files)
}

fn is_rows(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let packed = PACKED
        .iter()
        .find_map(|packed| name.strip_suffix(&format!(".{packed}")));
    let extension = packed.unwrap_or(&name).rsplit_once('.');
    let is_known = extension.is_some_and(|(_, extension)| KINDS.contains(&extension));
    is_known && !ABOUT.contains(&name.as_str())
}

/// What lies in a folder, in order of the names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| {
        Error::foreign(error).context(format!("failed to read {}", folder.display()))
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
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
