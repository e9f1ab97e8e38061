//! Text of the data in a page: nothing of it is markup.

/// The text with everything escaped that could be markup, in an element or in a quoted attribute; control characters but
/// white space are shown as their symbols.
pub(crate) fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' => out.extend(char::from_u32(0x2400 + u32::from(c))),
            // Marks that turn the direction of what follows would let a text show as another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{7f}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        let hostile = "</script><img src=x onerror='alert(1)'>\"&amp;\u{0}\u{202e}";
        let shown = text(hostile);
        assert!(
            !shown.contains(['<', '>', '"', '\'', '\0', '\u{202e}']),
            "{shown}"
        );
        assert!(shown.ends_with("&amp;amp;\u{2400}\u{fffd}"), "{shown}");
    }
}
