//! Content hashes of files and folder trees: streamed, in sorted order, the same on every machine.
use crate::digest::hex;
use crate::kept::Kept;
use crate::mark::{Finished, is_receipt_of_its_folder};
use crate::stamp::{Stamp, canonical};
use crate::{Error, FILE_NAME, io};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Bytes read at a time.
const CHUNK: usize = 1 << 18;
/// Folders nested deeper than this are refused: they are a mistake or an attack.
const MAX_DEPTH: usize = 64;
/// Where hashes are kept from one run to the next.
static KEPT: OnceLock<Kept> = OnceLock::new();
/// What this process has hashed.
static HASHED: Mutex<Option<Hashes>> = Mutex::new(None);

/// From here on the hashes of big files are kept in a folder, so that the next run need not read what has not changed.
pub fn keep_hashes_in(cache: &Path) {
    KEPT.get_or_init(|| Kept::within(cache));
}

/// sha256 of a file's bytes, or of a folder's tree, as 64 hex digits.
///
/// A file's hash is `sha256sum`'s. A tree's hash is the sha256 of `HASH  PATH\0` for each file, sorted by PATH's bytes
/// (relative, with `/`), which is what `sha256sum -z` prints. Left out are empty folders, and receipts, because they hold
/// times: a file counts as one if it is called `receipt.json` or `FILE.receipt.json`, has a receipt's form, and all the
/// outputs that it lists lie beside it. In a finished output, left out is also what somebody has added to it and no tool
/// reads: notes, `.DS_Store`. Symbolic links are followed, for model caches are made of them; a link in a
/// circle, a broken link and anything that is neither file nor folder is an error.
///
/// # Errors
/// When something can't be read.
pub fn hash_path(path: &Path) -> Result<String, Error> {
    with_hashed(|hashes| hashes.hash_path(path))
}

/// Does something with all that this process has hashed.
pub(crate) fn with_hashed<T>(work: impl FnOnce(&mut Hashes) -> T) -> T {
    let mut hashed = HASHED.lock().unwrap_or_else(PoisonError::into_inner);
    work(hashed.get_or_insert_default())
}

/// Hashes that are remembered while this process lives, so that a big base is read once and not once a step.
#[derive(Debug, Default)]
pub struct Hashes {
    known: HashMap<Stamp, String>,
    /// By path, if nothing changes while these live.
    paths: Option<HashMap<PathBuf, String>>,
}

impl Hashes {
    /// Hashes of one moment: nothing is written while these live, so that no path is looked at twice.
    #[must_use]
    pub fn of_one_moment() -> Self {
        Self {
            paths: Some(HashMap::new()),
            ..Self::default()
        }
    }

    /// As [`hash_path`], but files that did not change since they were last hashed are not read again.
    ///
    /// # Errors
    /// When something can't be read.
    pub fn hash_path(&mut self, path: &Path) -> Result<String, Error> {
        if let Some(hash) = self.paths.as_ref().and_then(|paths| paths.get(path)) {
            return Ok(hash.clone());
        }
        let hash = self.look(path)?;
        if let Some(paths) = &mut self.paths {
            paths.insert(path.to_path_buf(), hash.clone());
        }
        Ok(hash)
    }

    fn look(&mut self, path: &Path) -> Result<String, Error> {
        if !fs::metadata(path).map_err(io("read", path))?.is_dir() {
            return self.file(path).map(|(hash, _)| hash);
        }
        let mut tree = Sha256::new();
        let finished = Finished::read(&path.join(FILE_NAME));
        for relative in files(path)? {
            if finished.as_ref().is_some_and(|f| f.is_aside(&relative)) {
                continue;
            }
            let (hash, _) = self.file(&path.join(&relative))?;
            tree.update(hash.as_bytes());
            tree.update(b"  ");
            tree.update(slashed(&relative).as_bytes());
            tree.update(b"\0");
        }
        Ok(hex(&tree.finalize()))
    }

    /// sha256 and length of one regular file.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(String, u64), Error> {
        let meta = fs::metadata(path).map_err(io("read", path))?;
        let Some(stamp) = Stamp::of(path, &meta)? else {
            return hash_file(path, &meta);
        };
        if let Some(hash) = self.known.get(&stamp) {
            return Ok((hash.clone(), meta.len()));
        }
        if let Some(hash) = KEPT.get().and_then(|kept| kept.find(&stamp)) {
            self.known.insert(stamp, hash.clone());
            return Ok((hash, meta.len()));
        }
        let (hash, length) = hash_file(path, &meta)?;
        let after = fs::metadata(path).map_err(io("read", path))?;
        if Stamp::of(path, &after)?.as_ref() == Some(&stamp) {
            if let Some(kept) = KEPT.get() {
                kept.keep(&stamp, &hash);
            }
            self.known.insert(stamp, hash.clone());
        }
        Ok((hash, length))
    }
}

/// sha256 and length of one regular file.
fn hash_file(path: &Path, meta: &fs::Metadata) -> Result<(String, u64), Error> {
    if !meta.is_file() {
        return Err(
            Error::invalid(format!("{} is neither a file nor a folder", path.display()))
                .hint("name a file or a folder"),
        );
    }
    let mut file = File::open(path).map_err(io("open", path))?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0u8; CHUNK];
    let mut length = 0;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((hex(&hasher.finalize()), length)),
            Ok(n) => {
                hasher.update(&chunk[..n]);
                length += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io("read", path)(e)),
        }
    }
}

/// All files under a folder but receipts, as relative paths, sorted by their bytes.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut above = vec![canonical(root)?];
    walk(root, Path::new(""), &mut above, &mut found)?;
    found.sort_by_cached_key(|path| slashed(path));
    Ok(found)
}

/// Adds the files of `root/relative` to `found`; `above` are the real paths of the folders that we are inside of.
fn walk(
    root: &Path,
    relative: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let folder = root.join(relative);
    for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
        let name = entry.map_err(io("list", &folder))?.file_name();
        let path = folder.join(&name);
        let inner = relative.join(&name);
        if !fs::metadata(&path).map_err(io("read", &path))?.is_dir() {
            if !is_receipt_of_its_folder(&path) {
                found.push(inner);
            }
            continue;
        }
        let real = canonical(&path)?;
        if above.contains(&real) || above.len() >= MAX_DEPTH {
            let why = if above.contains(&real) {
                "links back to a folder above it"
            } else {
                "is nested too deeply"
            };
            return Err(Error::invalid(format!("{} {why}", path.display()))
                .hint("name a folder without it"));
        }
        above.push(real);
        walk(root, &inner, above, found)?;
        above.pop();
    }
    Ok(())
}

/// The path with `/` on every system.
fn slashed(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}
