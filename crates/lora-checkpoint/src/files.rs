//! Text and JSON files, whole.
use crate::error::{Error, Result, invalid, io};
use std::path::Path;

/// The way out where a file ends too early.
const CUT_OFF: &str = "was the download or the copy cut off?";

/// The text of a file, which must be UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(io("read", path))?;
    String::from_utf8(bytes).map_err(|e| {
        invalid(
            path,
            format!("not UTF-8 text at byte {}", e.utf8_error().valid_up_to()),
        )
    })
}

/// The JSON value in a file.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = read_text(path)?;
    if text.trim().is_empty() {
        return Err(invalid(path, "the file is empty").hint(CUT_OFF));
    }
    serde_json::from_str(&text)
        .map_err(|e| invalid(path, format!("not valid JSON: {e}")).hint(CUT_OFF))
}

/// JSON with an indent of 2 and a newline at the end, as transformers writes it.
pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| invalid(path, e.to_string()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(io("write", path))
}
