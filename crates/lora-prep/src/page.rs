//! Rows of a dataset as one HTML page that needs nothing else: what is learned is coloured, nothing of a row is markup.
use crate::text::{Text, visible};
use std::fmt::Write as _;

/// A page that grows row by row.
pub(crate) struct Page(String);

impl Page {
    /// The head; the title is escaped.
    pub(crate) fn new(title: &str) -> Self {
        let title = escaped(title);
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n<title>{title}</title>\n<style>\
             body{{font-family:sans-serif;margin:2em auto;max-width:60em;color:#222}}\
             pre{{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f6f6;padding:1em;border-radius:4px}}\
             mark{{background:#bfe6c4;color:inherit}}h2{{font-size:.9em;font-weight:normal;color:#666;margin:2em 0 .3em}}\
             </style>\n<h1>{title}</h1>\n<p>What is learned is <mark>marked</mark>.</p>\n"
        ))
    }

    /// One row under its heading.
    pub(crate) fn row(&mut self, heading: &str, text: &Text) {
        // Writing into memory can't fail.
        let _ = write!(self.0, "<h2>{}</h2>\n<pre>", escaped(heading));
        for (is_learned, run) in text.parts() {
            let run = escaped(&visible(run));
            let _ = match is_learned {
                true => write!(self.0, "<mark>{run}</mark>"),
                false => write!(self.0, "{run}"),
            };
        }
        self.0.push_str("</pre>\n");
    }

    /// The whole page.
    pub(crate) fn finish(self) -> String {
        self.0 + "</html>\n"
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
