//! A template's source as minijinja is to read it: what Jinja reads in another way is written so that both read the same.

/// A source that was written anew.
pub(crate) struct Source {
    pub(crate) text: String,
    /// True if `{% generation %}` blocks say what the assistant wrote.
    pub(crate) has_generation: bool,
}

impl Source {
    /// Of lines that end in any way; one line break at the end is no part of a template.
    pub(crate) fn new(source: &str) -> Self {
        let lines = source.replace("\r\n", "\n").replace('\r', "\n");
        let mut made = Self {
            text: String::with_capacity(lines.len()),
            has_generation: false,
        };
        let mut rest = lines.strip_suffix('\n').unwrap_or(&lines);
        while let Some(open) = opening(rest) {
            made.text.push_str(&rest[..open]);
            rest = made.next(&rest[open..]);
        }
        made.text.push_str(rest);
        made
    }

    /// Writes the tag or the comment that `rest` begins with, and returns what follows.
    fn next<'s>(&mut self, rest: &'s str) -> &'s str {
        if rest.starts_with("{#") {
            let end = rest.find("#}").map_or(rest.len(), |end| end + 2);
            self.text.push_str(&rest[..end]);
            return &rest[end..];
        }
        let (tag, after) = rest.split_at(end_of_tag(rest));
        match word(tag) {
            // transformers' blocks are a filter of ours, which prints its body.
            "generation" => self.generation(tag, "generation", "filter generated"),
            "endgeneration" => self.generation(tag, "endgeneration", "endfilter"),
            "raw" => return self.raw(tag, after),
            _ => self.tag(tag),
        }
        after
    }

    fn generation(&mut self, tag: &str, word: &str, filter: &str) {
        self.has_generation = true;
        self.text.push_str(&tag.replacen(word, filter, 1));
    }

    /// A raw block: Jinja keeps the line break behind its first tag, which minijinja takes off.
    fn raw<'s>(&mut self, tag: &str, after: &'s str) -> &'s str {
        self.text.push_str(tag);
        if after.starts_with('\n') && !tag.ends_with("-%}") {
            self.text.push('\n');
        }
        // Whatever quotes lie before it.
        let mut tags = after.match_indices("{%").map(|(at, _)| at);
        let end = tags.find_map(|at| Some(at + end_of_raw(&after[at..])?));
        let (body, after) = after.split_at(end.unwrap_or(after.len()));
        self.text.push_str(body);
        after
    }

    /// A tag whose texts are written with escapes that minijinja reads as Python does.
    fn tag(&mut self, tag: &str) {
        let mut quote = None;
        let mut chars = tag.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(_), '\\') => self.escape(&mut chars),
                (Some(open), c) => {
                    self.text.push(c);
                    quote = Some(open).filter(|open| *open != c);
                }
                (None, c) => {
                    self.text.push(c);
                    quote = Some(c).filter(|c| is_quote(*c));
                }
            }
        }
    }

    /// Python's escapes, of which minijinja knows some: a line break is none, and what is unknown stays as it is.
    fn escape(&mut self, chars: &mut std::str::Chars<'_>) {
        match chars.next() {
            None => self.text.push('\\'),
            Some('\n') => {}
            Some('a') => self.text.push_str("\\x07"),
            Some('v') => self.text.push_str("\\x0b"),
            Some('/') => self.text.push_str("\\\\/"),
            Some('U') => {
                let digits = chars.as_str().get(..8);
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                match code.and_then(char::from_u32) {
                    None => self.text.push_str("\\U"),
                    Some(c) => {
                        *chars = chars.as_str()[8..].chars();
                        self.text.extend((is_quote(c) || c == '\\').then_some('\\'));
                        self.text.push(c);
                    }
                }
            }
            Some(c) => self.text.extend(['\\', c]),
        }
    }
}

/// Where the next tag or comment begins.
fn opening(text: &str) -> Option<usize> {
    let is_one = |at: &usize| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    let braces = text.match_indices('{').map(|(at, _)| at);
    braces.into_iter().find(is_one)
}

/// Where the tag ends that `text` begins with; what looks like an end within a text of it is none.
fn end_of_tag(text: &str) -> usize {
    let end = if text.starts_with("{{") { "}}" } else { "%}" };
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            _ if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if text[at..].starts_with(end) => return at + end.len(),
            None if is_quote(c) => quote = Some(c),
            None => {}
        }
    }
    text.len()
}

/// Where the tag ends that ends a raw block, if `text` begins with one.
fn end_of_raw(text: &str) -> Option<usize> {
    let sign = ['-', '+'];
    let rest = text.strip_prefix("{%")?;
    let rest = rest.trim_start_matches(sign).trim_start();
    let rest = rest.strip_prefix("endraw")?.trim_start();
    let rest = rest.trim_start_matches(sign).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// The word that is all of a tag.
fn word(tag: &str) -> &str {
    match tag.strip_prefix("{%") {
        None => "",
        Some(tag) => tag
            .trim_start_matches(['-', '+'])
            .trim_end_matches(['}', '%', '-', '+'])
            .trim(),
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jinja_reads_in_another_way_is_written_anew() {
        for (source, expected) in [
            ("a\n\n", "a\n"),
            ("a\r\n", "a"),
            ("a\rb", "a\nb"),
            (
                "{% raw %}\n{{ '\\a' }}{% endraw %}\n",
                "{% raw %}\n\n{{ '\\a' }}{% endraw %}",
            ),
            (
                "{% raw -%}\nx{% endraw %}{{ '\\a' }}",
                "{% raw -%}\nx{% endraw %}{{ '\\x07' }}",
            ),
            ("{{ \"a\\\nb\" }}\\\nc", "{{ \"ab\" }}\\\nc"),
            ("{{ '\\\\\n\\'\\/' }}", "{{ '\\\\\n\\'\\\\/' }}"),
            ("{{ '\\U0001F600\\U00000027\\Uno' }}", "{{ '😀\\'\\Uno' }}"),
            ("{# '{{ \\a #}{{ x }}", "{# '{{ \\a #}{{ x }}"),
            ("{{ '}}' ~ '\\a' }}'\\a'", "{{ '}}' ~ '\\x07' }}'\\a'"),
            ("{ {{ '", "{ {{ '"),
            ("{%", "{%"),
            ("{{ '\\", "{{ '\\"),
            ("{% raw %}", "{% raw %}"),
            (
                "{% raw %}{%\"{%- endraw +%}{{ '\\a'",
                "{% raw %}{%\"{%- endraw +%}{{ '\\x07'",
            ),
        ] {
            let made = Source::new(source);
            assert_eq!(made.text, expected, "{source:?}");
            assert!(!made.has_generation);
        }
        // No tag of a raw block is read up to the end.
        let long = "{% raw %}".to_owned() + &"{%\\\"%}".repeat(100_000);
        assert_eq!(Source::new(&long).text, long);
        let made = Source::new("{%- generation -%}a{% endgeneration +%}");
        assert!(made.has_generation);
        assert_eq!(made.text, "{%- filter generated -%}a{% endfilter +%}");
    }
}
