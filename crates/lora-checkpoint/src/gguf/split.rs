//! Models in several GGUF files, as llama.cpp's `llama-gguf-split` makes them: the first has all metadata, each has some of
//! the tensors, and names and metadata say which part of how many it is.
use super::parse::{Gguf, parse};
use super::value::Value;
use crate::error::{Error, Fault, invalid};
use crate::mapped::Mapped;
use std::path::{Path, PathBuf};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// A model's files, and what they hold together.
pub(crate) struct Opened {
    pub(crate) files: Vec<Mapped>,
    pub(crate) gguf: Gguf,
}

/// Opens a file that holds a model by itself.
///
/// # Errors
/// Also if it is a part of a split one.
pub(crate) fn open(path: &Path) -> Result<Opened, Error> {
    let (file, gguf) = read(path)?;
    let (number, count) = place(&gguf);
    if count > 1 {
        let what = format!("part {} of a model in {count} files", number + 1);
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        return Err(invalid(path, what).hint(format!(
            "name the folder that holds all of its parts, and no other model: {}",
            folder.display()
        )));
    }
    Ok(Opened {
        files: vec![file],
        gguf,
    })
}

/// Opens the parts of one model.
///
/// # Errors
/// If one of them is missing, or says that it is another.
pub(crate) fn open_parts(folder: &Path, parts: &[PathBuf]) -> Result<Opened, Error> {
    let mut files = Vec::new();
    let mut whole: Option<Gguf> = None;
    for (number, path) in parts.iter().enumerate() {
        let (file, mut gguf) = read(path)?;
        let expected = (number as u64, parts.len() as u64);
        if place(&gguf) != expected {
            let (number, count) = place(&gguf);
            let what = format!(
                "its metadata says part {} of {count}, its name {} of {}",
                number + 1,
                expected.0 + 1,
                expected.1
            );
            return Err(invalid(path, what).hint("split the model, or fetch its parts, again"));
        }
        gguf.tensors.values_mut().for_each(|t| t.file = number);
        files.push(file);
        let Some(whole) = &mut whole else {
            whole = Some(gguf);
            continue;
        };
        for (name, tensor) in gguf.tensors {
            if let Some(other) = whole.tensors.insert(name.clone(), tensor) {
                let other = files[other.file].path().display();
                return Err(invalid(path, format!("tensor {name} is also in {other}")));
            }
        }
    }
    let Some(mut gguf) = whole else {
        return Err(invalid(folder, "no .gguf file"));
    };
    let said = gguf.metadata.get(TENSORS).and_then(Value::as_u64);
    let found = gguf.tensors.len() as u64;
    if said.is_some_and(|said| said != found) {
        let said = said.unwrap_or(0);
        let what = format!("{TENSORS} is {said}, and the parts hold {found} tensors");
        return Err(invalid(&parts[0], what).hint("are they parts of one model?"));
    }
    // What is written of it is no part of anything.
    gguf.metadata
        .retain(|key, _| ![NUMBER, COUNT, TENSORS].contains(&key.as_str()));
    Ok(Opened { files, gguf })
}

/// Whether these are the parts of one model, by their names; sorted as they are, if so.
///
/// # Errors
/// If some of its parts are missing.
pub(crate) fn are_parts(folder: &Path, files: &[PathBuf]) -> Result<bool, Error> {
    let named: Option<Vec<Name<'_>>> = files.iter().map(|file| Name::of(file)).collect();
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return Ok(false);
    };
    let (stem, count) = (named[0].stem, named[0].count);
    if named.iter().any(|n| n.stem != stem || n.count != count) {
        return Ok(false);
    }
    let missing = (1..=count).find(|part| named.iter().all(|n| n.number != *part));
    match missing {
        None => Ok(named.len() as u64 == count),
        Some(part) => {
            let what = format!("part {part} of {count} of {stem} is missing");
            Err(invalid(folder, what).hint("put all parts of the model into the folder"))
        }
    }
}

/// Whether a file is called as a part is.
pub(crate) fn is_part(path: &Path) -> bool {
    Name::of(path).is_some()
}

/// What a part's name says: `STEM-00001-of-00003.gguf`.
struct Name<'p> {
    stem: &'p str,
    number: u64,
    count: u64,
}

impl<'p> Name<'p> {
    fn of(path: &'p Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let read = |digits: &str| {
            let is_number = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten()
        };
        let (number, count) = (read(number)?, read(count)?);
        (1..=count).contains(&number).then_some(Self {
            stem,
            number,
            count,
        })
    }
}

fn read(path: &Path) -> Result<(Mapped, Gguf), Error> {
    let file = Mapped::open(path)?;
    let gguf = parse(file.bytes()).map_err(|fault: Fault| invalid(path, fault))?;
    Ok((file, gguf))
}

/// Which part a file is, from 0, and of how many; the only one where nothing is said.
fn place(gguf: &Gguf) -> (u64, u64) {
    let number = |key| gguf.metadata.get(key).and_then(Value::as_u64);
    (number(NUMBER).unwrap_or(0), number(COUNT).unwrap_or(1))
}
