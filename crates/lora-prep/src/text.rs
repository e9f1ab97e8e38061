//! A row's text with what is learned of it marked, for a terminal and for a page.
use lora_checkpoint::TokenizerBundle;
use lora_cli::Ui;
use lora_data::{Example, IGNORE};

/// How supervised text is marked: before and after it.
pub(crate) struct Style(&'static str, &'static str);

pub(crate) const BRACKETS: Style = Style("⟦", "⟧");

/// Green on a terminal that shows colours, brackets otherwise.
pub(crate) fn style(ui: &Ui) -> Style {
    match ui.has_colours() {
        true => Style("\u{1b}[32m", "\u{1b}[0m"),
        false => BRACKETS,
    }
}

/// A row's text in runs of supervised and other tokens.
pub(crate) struct Text(Vec<(bool, String)>);

impl Text {
    /// Decoded by the labels; without a tokenizer the prompt's and completion's text, or the ids.
    pub(crate) fn of(example: &Example, bundle: Option<&TokenizerBundle>) -> Self {
        let decode = |ids: &[u32]| match bundle {
            Some(bundle) => bundle
                .tokenizer
                .decode(ids, false)
                .unwrap_or_else(|error| error.to_string()),
            None => ids.iter().map(|id| format!("{id} ")).collect(),
        };
        let is_one_run = example.labels[example.prompt_ids().len()..]
            .iter()
            .all(|label| *label != IGNORE);
        if bundle.is_none() && !example.completion.is_empty() && is_one_run {
            return Self(vec![
                (false, example.prompt.clone()),
                (true, example.completion.clone()),
            ]);
        }
        Self::runs(example, decode)
    }

    /// Decoded run by run.
    pub(crate) fn runs(example: &Example, decode: impl Fn(&[u32]) -> String) -> Self {
        let mut runs = Vec::new();
        let mut start = 0;
        while start < example.len() {
            let supervised = example.labels[start] != IGNORE;
            let run = example.labels[start..]
                .iter()
                .take_while(|label| (**label != IGNORE) == supervised)
                .count();
            runs.push((supervised, decode(&example.input_ids[start..start + run])));
            start += run;
        }
        Self(runs)
    }

    /// The runs, and whether they are supervised.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (bool, &str)> {
        self.0.iter().map(|(learned, run)| (*learned, run.as_str()))
    }

    pub(crate) fn marked(&self, Style(before, after): &Style) -> String {
        let mark = |(supervised, text): &(bool, String)| match supervised {
            true => format!("{before}{}{after}", visible(text)),
            false => visible(text),
        };
        self.0
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(mark)
            .collect()
    }

    /// Indented lines, at most `most`; marks are repeated on each line that they span.
    pub(crate) fn lines(&self, style: &Style, most: usize) -> Vec<String> {
        let mut text = self.marked(style);
        if style.0 != BRACKETS.0 {
            // A colour ends with its line, so that indenting and pagers don't break it.
            text = self
                .0
                .iter()
                .map(|(supervised, run)| paint(*supervised, &visible(run), style))
                .collect();
        }
        let mut lines: Vec<String> = text.split('\n').map(|line| format!("  {line}")).collect();
        if lines.len() > most {
            lines.truncate(most);
            lines.push("  …".to_owned());
        }
        lines
    }
}

fn paint(supervised: bool, text: &str, Style(before, after): &Style) -> String {
    match supervised {
        true => text
            .split('\n')
            .map(|line| format!("{before}{line}{after}"))
            .collect::<Vec<_>>()
            .join("\n"),
        false => text.to_owned(),
    }
}

/// Text from a dataset must not steer the terminal: control characters but newline and tab are shown as such.
pub(crate) fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                c.escape_unicode().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}
