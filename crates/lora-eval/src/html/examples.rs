//! Rows that tell most: the worst of each adapter, and those that changed most, with the differences to what was expected
//! marked.
use super::shown::Page;
use crate::measured::Measured;
use lora_cli::html::text;

/// Rows of each kind.
const SHOWN: usize = 8;
/// Words up to which an answer is compared word by word.
const MOST_WORDS: usize = 400;

/// The examples of each adapter, or the base's worst where there is none.
pub(crate) fn examples(page: &Page<'_>) -> String {
    let Some(base) = page.measured.first() else {
        return String::new();
    };
    let adapters = page.measured.get(1..).unwrap_or_default();
    if adapters.is_empty() {
        return kind(page, "worst of the base", &worst(base), &[base]);
    }
    let mut shown = String::new();
    for model in adapters {
        let (worst, changed) = (worst(model), most_changed(base, model));
        let models = [base, model];
        shown += &kind(
            page,
            &format!("most changed by {}", model.name),
            &changed,
            &models,
        );
        shown += &kind(page, &format!("worst of {}", model.name), &worst, &models);
    }
    shown
}

/// Rows by falling loss a token.
fn worst(model: &Measured) -> Vec<usize> {
    ranked(model, |row| a_token(model, row))
}

/// Rows by how far the loss a token moved.
fn most_changed(base: &Measured, model: &Measured) -> Vec<usize> {
    ranked(model, |row| {
        (a_token(base, row) - a_token(model, row)).abs()
    })
}

fn a_token(model: &Measured, row: usize) -> f64 {
    let loss = &model.losses[row];
    loss.nll / loss.tokens.max(1) as f64
}

fn ranked(model: &Measured, weight: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..model.losses.len()).collect();
    rows.sort_by(|&a, &b| weight(b).total_cmp(&weight(a)));
    rows.truncate(SHOWN);
    rows
}

fn kind(page: &Page<'_>, heading: &str, rows: &[usize], models: &[&Measured]) -> String {
    let cards: String = rows.iter().map(|&row| card(page, row, models)).collect();
    format!(
        "<details><summary>{}</summary>\n{cards}</details>\n",
        text(heading)
    )
}

fn card(page: &Page<'_>, row: usize, models: &[&Measured]) -> String {
    let example = &page.loaded.rows[row];
    let question = page.plan.rows.get(row);
    let expected = question.map_or(example.completion.as_str(), |question| &question.expected);
    let mut shown = format!(
        "<article><dl><dt>prompt</dt><dd><pre>{}</pre></dd><dt>expected</dt><dd><pre>{}</pre></dd>",
        text(&example.prompt),
        text(expected)
    );
    for model in models {
        let loss = a_token(model, row);
        let answer = model.answers.get(row);
        let said = answer.map_or_else(String::new, |answer| marked(expected, &answer.text));
        shown += &format!(
            "<dt>{}, loss {loss:.3}</dt><dd><pre>{said}</pre></dd>",
            text(&model.name)
        );
    }
    shown + "</dl></article>\n"
}

/// The answer with words that were not expected marked, and those that are missing.
fn marked(expected: &str, answer: &str) -> String {
    let (wanted, said) = (pieces(expected), pieces(answer));
    if wanted.len() > MOST_WORDS || said.len() > MOST_WORDS {
        return text(answer);
    }
    // Longest common subsequence of what remains from each pair of places on.
    let mut common = vec![vec![0usize; said.len() + 1]; wanted.len() + 1];
    for w in (0..wanted.len()).rev() {
        for s in (0..said.len()).rev() {
            common[w][s] = match wanted[w] == said[s] {
                true => common[w + 1][s + 1] + 1,
                false => common[w + 1][s].max(common[w][s + 1]),
            };
        }
    }
    let mut shown = String::new();
    let (mut w, mut s) = (0, 0);
    while w < wanted.len() || s < said.len() {
        if w < wanted.len() && s < said.len() && wanted[w] == said[s] {
            shown += &text(said[s]);
            (w, s) = (w + 1, s + 1);
        } else if s < said.len() && (w == wanted.len() || common[w][s + 1] >= common[w + 1][s]) {
            shown += &format!("<ins>{}</ins>", text(said[s]));
            s += 1;
        } else {
            shown += &format!("<del>{}</del>", text(wanted[w]));
            w += 1;
        }
    }
    shown
}

/// Words and what stands between them.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut was_word = None;
    for (at, c) in text.char_indices() {
        let is_word = c.is_alphanumeric();
        if was_word.is_some_and(|was| was != is_word || !is_word) {
            pieces.push(&text[start..at]);
            start = at;
        }
        was_word = Some(is_word);
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_marked_and_escaped() {
        assert_eq!(marked("a <b> c", "a <b> c"), "a &lt;b&gt; c");
        assert_eq!(
            marked("call Ann", "call Bob"),
            "call <ins>Bob</ins><del>Ann</del>"
        );
        assert_eq!(
            marked("", "<script>"),
            "<ins>&lt;</ins><ins>script</ins><ins>&gt;</ins>"
        );
        assert_eq!(marked("yes", ""), "<del>yes</del>");
        assert_eq!(pieces("a, b2"), ["a", ",", " ", "b2"]);
    }
}
