//! What Go and Ollama's reader of Modelfiles leave as it stands.

/// True for a text that Go and the Modelfile read as it stands.
pub(super) fn is_plain(text: &str) -> bool {
    !text.contains("{{")
        && !text.contains("\"\"\"")
        && !text.contains('\r')
        && !text.ends_with(['{', '"'])
        && text.chars().all(is_kept)
}

/// True for characters that Ollama's reader of Modelfiles does not drop: Go's `strconv.IsPrint`, tabs and line ends. (A
/// hard space is dropped, and what joins emoji.)
pub(super) fn is_kept(c: char) -> bool {
    // Behind a letter, marks that extend it are not escaped.
    let is_print = !format!("a{c}").escape_debug().to_string().contains("\\u{");
    matches!(c, '\t' | '\n' | '\r') || (is_print && !c.is_control())
}
