//! Compiled kernels are kept from one run to the next. A cache that can't be read or written is no error.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// Where compiled kernels are kept: `$XDG_CACHE_HOME/lora-tools/kernels`, or below `~/.cache`.
pub(super) fn folder() -> Option<PathBuf> {
    folder_of(&|name| env::var_os(name))
}

fn folder_of(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    base.is_absolute()
        .then(|| base.join("lora-tools").join("kernels"))
}

/// What is kept under `parts`, which say all that it was made of; else what `make` makes, which is then kept.
pub(super) fn kept<E>(
    folder: Option<&Path>,
    parts: &[&str],
    make: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let Some(folder) = folder else {
        return make();
    };
    let file = folder.join(format!("{:016x}.cubin", hash_of(parts)));
    if let Some(found) = read(&file) {
        return Ok(found);
    }
    let made = make()?;
    write(folder, &file, &made);
    Ok(made)
}

/// The bytes, if those behind them are their hash.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(file).ok()?;
    let end = bytes.len().checked_sub(size_of::<u64>())?;
    let told = bytes.split_off(end);
    (end > 0 && told == hash(&bytes).to_le_bytes()).then_some(bytes)
}

/// Another name first, so that no one reads a half of it.
fn write(folder: &Path, file: &Path, bytes: &[u8]) {
    let unfinished = file.with_extension(format!("{}.tmp", process::id()));
    let all = [bytes, &hash(bytes).to_le_bytes()].concat();
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&unfinished, all))
        .and_then(|()| fs::rename(&unfinished, file));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
}

/// Where one part ends and the next begins counts, too.
fn hash_of(parts: &[&str]) -> u64 {
    let lengths: Vec<String> = parts.iter().map(|part| part.len().to_string()).collect();
    hash((lengths.join(",") + ":" + &parts.concat()).as_bytes())
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn what_was_made_once_is_kept_and_what_is_damaged_is_made_again() {
        let folder = env::temp_dir().join(format!("lora-gpu-cache-{}", process::id()));
        let made = Cell::new(0);
        let get = |folder: Option<&Path>, parts: &[&str]| {
            kept(folder, parts, || {
                made.set(made.get() + 1);
                Ok::<_, ()>(b"compiled".to_vec())
            })
        };
        let check = |parts: &[&str], expected| {
            assert_eq!(get(Some(&folder), parts), Ok(b"compiled".to_vec()));
            assert_eq!(made.get(), expected);
        };
        check(&["a", "b"], 1);
        check(&["a", "b"], 1);
        check(&["ab", ""], 2);
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            assert_eq!(file.extension(), Some("cubin".as_ref()));
            fs::write(file, "compi").unwrap();
        }
        check(&["a", "b"], 3);
        check(&["a", "b"], 3);
        fs::remove_dir_all(&folder).unwrap();
        get(None, &["a"]).unwrap();
        get(Some(Path::new("/dev/null/no-folder")), &["a"]).unwrap();
        assert_eq!(made.get(), 5);
    }

    #[test]
    fn it_lies_where_the_user_keeps_caches() {
        let of = |pairs: &'static [(&str, &str)]| {
            folder_of(&|name| Some(pairs.iter().find(|(n, _)| *n == name)?.1.into()))
        };
        let folder = |name: &str| Some(PathBuf::from(name));
        assert_eq!(
            of(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]),
            folder("/c/lora-tools/kernels")
        );
        assert_eq!(
            of(&[("XDG_CACHE_HOME", ""), ("HOME", "/h")]),
            folder("/h/.cache/lora-tools/kernels")
        );
        assert_eq!(of(&[("XDG_CACHE_HOME", "here")]), None);
        assert_eq!(of(&[]), None);
    }
}
