//! The mark of an unfinished output: `OUT.partial.mark` beside `OUT.partial` says that the latter is ours, and which one it
//! is. A file or folder of somebody else's that happens to be called so has no mark, or another one's.
use crate::receipt::beside;
use crate::{Error, hash_bytes, io};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// A mark within the folder, which travels with it to another disk: an interrupted run that is to be continued has one.
const WITHIN: &str = ".lora-unfinished";

/// What a mark says of its purpose, to whoever finds it.
const WHAT: &str = "an unfinished output of a lora tool, which may be continued or removed";

/// The mark's content.
#[derive(serde::Serialize, serde::Deserialize)]
struct Mark {
    what: String,
    /// Which file or folder is meant: others of its name are not.
    identity: String,
    /// Which output it is about to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    /// sha256 of its receipt, once nothing but the rename is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

/// Where an output is written until it is finished: `OUT.partial`, beside what a linked `OUT` points to.
pub fn partial_path(out: &Path) -> PathBuf {
    beside(&real(out), ".partial")
}

/// What `out` points to, if it is a link to something.
pub(crate) fn real(out: &Path) -> PathBuf {
    let is_link = fs::symlink_metadata(out).is_ok_and(|meta| meta.is_symlink());
    let target = is_link.then(|| fs::canonicalize(out).ok()).flatten();
    target.unwrap_or_else(|| out.to_path_buf())
}

/// True if what lies at `path` is an unfinished output of ours.
pub(crate) fn is_ours(path: &Path) -> bool {
    path.join(WITHIN).is_file() || is(path, read(path).map(|mark| mark.identity))
}

/// True if nothing but the rename is missing of the folder at `partial`.
pub(crate) fn is_complete(partial: &Path, receipt: &Path) -> bool {
    let Some(mark) = read(partial) else {
        return false;
    };
    let now = fs::read(receipt).ok().map(|text| hash_bytes(&text));
    now.is_some() && mark.receipt == now && is(partial, Some(mark.identity))
}

/// True if what lies at `old` is the output that was replaced by the one that was written at `partial`.
pub(crate) fn was_replaced(old: &Path, partial: &Path) -> bool {
    is(old, read(partial).and_then(|mark| mark.replaces))
}

/// Marks what lies at `path` as ours.
pub(crate) fn mark(path: &Path) -> Result<(), Error> {
    write(path, None, None)
}

/// Marks what lies at `partial` as complete, but for the rename to `out`.
pub(crate) fn mark_complete(partial: &Path, out: &Path, receipt: &str) -> Result<(), Error> {
    let replaces = fs::symlink_metadata(out).ok();
    let replaces = replaces.map(|meta| identity(&meta));
    write(partial, replaces, Some(hash_bytes(receipt.as_bytes())))
}

fn write(path: &Path, replaces: Option<String>, receipt: Option<String>) -> Result<(), Error> {
    let meta = fs::symlink_metadata(path).map_err(io("read", path))?;
    let mark = Mark {
        what: WHAT.to_owned(),
        identity: identity(&meta),
        replaces,
        receipt,
    };
    let text = serde_json::to_string(&mark).unwrap_or_default() + "\n";
    let place = mark_of(path);
    let staged = beside(&place, ".new");
    fs::write(&staged, text)
        .and_then(|()| fs::rename(&staged, &place)) // a mark that is cut off would disown what it is of
        .map_err(|error| {
            let _ = fs::remove_file(&staged);
            io("write", &place)(error)
        })
}

fn read(path: &Path) -> Option<Mark> {
    serde_json::from_slice(&fs::read(mark_of(path)).ok()?).ok()
}

fn is(path: &Path, known: Option<String>) -> bool {
    let now = fs::symlink_metadata(path).ok();
    now.is_some_and(|meta| known == Some(identity(&meta)))
}

/// Marks a folder from within, too.
pub(crate) fn mark_within(folder: &Path) -> Result<(), Error> {
    let place = folder.join(WITHIN);
    fs::write(&place, format!("{WHAT}\n")).map_err(io("write", &place))
}

/// Takes the mark within a folder away, for it is about to be finished.
pub(crate) fn unmark_within(folder: &Path) {
    let _ = fs::remove_file(folder.join(WITHIN)); // the one beside it still tells whose it is
}

/// Takes the mark beside `path` away. One that stays marks nothing else.
pub(crate) fn unmark(path: &Path) {
    let place = mark_of(path);
    let _ = fs::remove_file(beside(&place, ".new"));
    let _ = fs::remove_file(place);
}

/// Takes a mark away whose output is at its place, or gone.
pub(crate) fn forget(partial: &Path, replaced: &Path) {
    let is_gone = |path: &Path| fs::symlink_metadata(path).is_err();
    // An empty one was cut off before its first byte.
    let is_mark = |path: &Path| {
        fs::read(path)
            .is_ok_and(|text| text.is_empty() || serde_json::from_slice::<Mark>(&text).is_ok())
    };
    let place = mark_of(partial);
    let staged = beside(&place, ".new");
    if is_mark(&staged) {
        let _ = fs::remove_file(&staged); // it marks nothing before its rename
    }
    if is_gone(partial) && is_gone(replaced) && is_mark(&place) {
        unmark(partial);
    }
}

/// Moves an unfinished output, with its mark, to another name of the same folder; what is unfinished there goes away.
///
/// # Errors
/// When something that is not ours lies there, or when the system refuses.
pub fn move_unfinished(from: &Path, to: &Path) -> Result<(), Error> {
    remove_unfinished(to)?;
    fs::rename(from, to).map_err(io("move", from))?;
    mark(to)?;
    unmark(from);
    Ok(())
}

/// Removes an unfinished output and its mark; nothing, if nothing is there.
///
/// # Errors
/// When what lies there is not ours, or when the system refuses.
pub fn remove_unfinished(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok() {
        if !is_ours(path) {
            return Err(not_ours(path));
        }
        remove(path).map_err(io("remove", path))?;
    }
    unmark(path);
    Ok(())
}

/// The refusal to touch what lies where an unfinished output would.
pub(crate) fn not_ours(path: &Path) -> Error {
    Error::invalid(format!(
        "{} is in the way: no lora tool left it there",
        path.display()
    ))
    .hint("move it away, or choose another --out")
}

/// Removes a file, a folder with all in it, or a link (never what it points to).
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn mark_of(path: &Path) -> PathBuf {
    beside(path, ".mark")
}

/// What tells a file or folder from others that had or will have its name.
fn identity(meta: &Metadata) -> String {
    let made = meta.created().ok();
    let made = made.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let made = made.map_or(0, |since| since.as_nanos());
    format!("{}-{made}", inode(meta))
}

#[cfg(unix)]
fn inode(meta: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
