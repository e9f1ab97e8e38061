//! Content hashes of files and folder trees: streamed, in sorted order, the same on every machine.
use crate::{Error, FILE_NAME, io};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes read at a time.
const CHUNK: usize = 1 << 18;
/// Folders nested deeper than this are refused: they are a mistake or an attack.
const MAX_DEPTH: usize = 64;

/// sha256 of a file's bytes, or of a folder's tree, as 64 hex digits.
///
/// A file's hash is `sha256sum`'s. A tree's hash is the sha256 of `HASH  PATH\0` for each file, sorted by PATH's bytes
/// (relative, with `/`), which is what `sha256sum -z` prints. Receipts are left out, because they hold times, and so are
/// empty folders. Symbolic links are followed, for model caches are made of them; a link in a circle, a broken link and
/// anything that is neither file nor folder is an error.
///
/// # Errors
/// When something can't be read.
pub fn hash_path(path: &Path) -> Result<String, Error> {
    let meta = fs::metadata(path).map_err(io("read", path))?;
    if !meta.is_dir() {
        return hash_file(path, &meta).map(|(hash, _)| hash);
    }
    let mut tree = Sha256::new();
    for relative in files(path)? {
        let file = path.join(&relative);
        let meta = fs::metadata(&file).map_err(io("read", &file))?;
        let (hash, _) = hash_file(&file, &meta)?;
        tree.update(hash.as_bytes());
        tree.update(b"  ");
        tree.update(slashed(&relative).as_bytes());
        tree.update(b"\0");
    }
    Ok(hex(&tree.finalize()))
}

/// sha256 of bytes in memory (an input that came through stdin), as 64 hex digits.
pub fn hash_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// sha256 and length of one regular file.
pub(crate) fn hash_file(path: &Path, meta: &fs::Metadata) -> Result<(String, u64), Error> {
    if !meta.is_file() {
        return Err(Error::Invalid(format!("{} is neither a file nor a folder", path.display())));
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
fn walk(root: &Path, relative: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let folder = root.join(relative);
    for entry in fs::read_dir(&folder).map_err(io("list", &folder))? {
        let name = entry.map_err(io("list", &folder))?.file_name();
        let path = folder.join(&name);
        let inner = relative.join(&name);
        if !fs::metadata(&path).map_err(io("read", &path))?.is_dir() {
            if !is_receipt(&name.to_string_lossy()) {
                found.push(inner);
            }
            continue;
        }
        let real = canonical(&path)?;
        if above.contains(&real) || above.len() >= MAX_DEPTH {
            let why = if above.contains(&real) { "links back to a folder above it" } else { "is nested too deeply" };
            return Err(Error::Invalid(format!("{} {why}", path.display())));
        }
        above.push(real);
        walk(root, &inner, above, found)?;
        above.pop();
    }
    Ok(())
}

/// Receipts hold times and paths, so they are no part of the content.
fn is_receipt(name: &str) -> bool {
    name == FILE_NAME || name.ends_with(".receipt.json")
}

fn canonical(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(io("read", path))
}

/// The path with `/` on every system.
fn slashed(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
