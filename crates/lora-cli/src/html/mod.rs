//! Pages for people: one file each, that loads nothing and runs no script but its own.
use lora_receipt::hash_bytes;

const STYLE: &str = include_str!("style.css");

/// A page. Its policy forbids whatever is not in it: data that came to be markup by a mistake of ours still runs nothing.
pub fn page(title: &str, body: &str, script: Option<&str>) -> String {
    let allowed = script.map(|script| format!("; script-src 'sha256-{}'", sha256_base64(script)));
    let script = script.map(|script| format!("<script>{script}</script>\n"));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n{}</body>\n</html>\n",
        allowed.unwrap_or_default(),
        text(title),
        script.unwrap_or_default(),
    )
}

/// A section with a heading; nothing where there is nothing in it.
pub fn section(heading: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{heading}</h2>\n{body}</section>\n")
}

/// The hash by which a page's policy knows its script.
fn sha256_base64(script: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex = hash_bytes(script.as_bytes());
    let bits: Vec<bool> = hex
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .flat_map(|digit| (0..4).rev().map(move |bit| digit >> bit & 1 == 1))
        .collect();
    let digit = |six: &[bool]| {
        let padded = six.iter().copied().chain([false; 6]).take(6);
        let number = padded.fold(0, |number, bit| 2 * number + usize::from(bit));
        char::from(DIGITS[number])
    };
    bits.chunks(6).map(digit).chain(['=']).collect()
}

/// The text with everything escaped that could be markup, in an element or in a quoted attribute; control characters but
/// white space are shown as their symbols.
pub fn text(raw: &str) -> String {
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

    /// `printf 'alert(1)' | openssl dgst -sha256 -binary | base64`
    #[test]
    fn a_script_is_known_by_its_hash() {
        let hash = "bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=";
        assert_eq!(sha256_base64("alert(1)"), hash);
        assert!(page("a", "b", Some("alert(1)")).contains(&format!("'sha256-{hash}'")));
        assert!(!page("a", "b", None).contains("script"));
    }

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
