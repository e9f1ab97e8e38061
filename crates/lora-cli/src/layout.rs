//! How figures and sentences are laid out for whoever reads stdout: within a terminal's width, or as Markdown.
use crate::table::{markdown, table_within, wrapped};

/// A width, or Markdown, whose lines have any.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    width: usize,
    is_markdown: bool,
}

impl Layout {
    /// For a terminal of so many columns.
    pub fn within(width: usize) -> Self {
        Self {
            width,
            is_markdown: false,
        }
    }

    /// For a page of Markdown; what is drawn keeps to so many columns.
    pub fn markdown(width: usize) -> Self {
        Self {
            width,
            is_markdown: true,
        }
    }

    /// True for Markdown.
    pub fn is_markdown(&self) -> bool {
        self.is_markdown
    }

    /// Columns that charts keep to.
    pub fn width(&self) -> usize {
        self.width
    }

    /// A table; the first row is its header. In Markdown an empty line ends it: what followed would be one more row.
    pub fn table<S: AsRef<str>>(&self, rows: &[Vec<S>]) -> Vec<String> {
        let text = match self.is_markdown {
            true => markdown(rows) + "\n",
            false => table_within(rows, self.width),
        };
        text.lines().map(str::to_owned).collect()
    }

    /// A sentence or two, of which Markdown makes a paragraph.
    pub fn paragraph(&self, text: &str) -> Vec<String> {
        match self.is_markdown {
            true => vec![text.to_owned(), String::new()],
            false => wrapped(text, self.width),
        }
    }

    /// What is drawn with letters: Markdown must not join its lines.
    pub fn drawn(&self, lines: Vec<String>) -> Vec<String> {
        const FENCE: &str = "```";
        match self.is_markdown {
            true => {
                let fence = || std::iter::once(FENCE.to_owned());
                fence().chain(lines).chain(fence()).collect()
            }
            false => lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_keeps_tables_paragraphs_and_drawings_apart() {
        let page = Layout::markdown(80);
        let rows = [vec!["a", "b"], vec!["x|y", "1"]];
        assert_eq!(
            page.table(&rows),
            ["| a | b |", "| --- | ---: |", "| x\\|y | 1 |", ""]
        );
        assert_eq!(page.paragraph("so long"), ["so long", ""]);
        assert_eq!(page.drawn(vec!["│".into()]), ["```", "│", "```"]);
        let terminal = Layout::within(4);
        assert_eq!(terminal.paragraph("so long"), ["so", "long"]);
        assert_eq!(terminal.drawn(vec!["│".into()]), ["│"]);
    }
}
