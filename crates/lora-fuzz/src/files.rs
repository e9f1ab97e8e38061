//! Files that a target writes.

/// A folder for the files that a target writes, kept for all its runs.
fn folder() -> &'static std::path::Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// Writes the bytes into a file of the folder that a thread has for itself.
pub(crate) fn written(name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let own = format!("{:?}", std::thread::current().id());
    let own: String = own.chars().filter(char::is_ascii_digit).collect();
    let path = folder().join(own).join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}
