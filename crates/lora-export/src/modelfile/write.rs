//! The template in Go's text/template, as Ollama renders it.
use super::infer::{System, Turns};
use super::plain::{is_kept, is_plain};
use super::thinking::Thinking;

/// The template that Ollama renders: `.System` is its system message, `.Messages` the chat, `.Thinking` of a message what was
/// thought before it.
pub(crate) fn write(turns: &Turns, thinking: Option<&Thinking>) -> String {
    let Turns {
        head,
        system,
        question_answer,
        answer_question,
        tail,
    } = turns;
    let [head, question_answer, answer_question, tail] =
        [head, question_answer, answer_question, tail].map(|text| literal(text));
    let (opening, inserted) = match system {
        None => (head, String::new()),
        Some(System::First { before, after }) => {
            let (before, after) = (literal(before), literal(after));
            let opening = format!(
                "{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ else }}}}{head}{{{{ end }}}}"
            );
            (opening, String::new())
        }
        Some(System::Last { before, after }) => {
            let (before, after) = (literal(before), literal(after));
            let is_last = "and $.System (eq (len (slice $.Messages $i)) 1)";
            (
                head,
                format!("{{{{ if {is_last} }}}}{before}{{{{ $.System }}}}{after}{{{{ end }}}}"),
            )
        }
    };
    let thought = thought(thinking);
    [
        thought.before,
        "{{ $before := \"\" }}",
        &opening,
        "{{ range $i, $message := .Messages }}{{ if eq .Role \"user\" }}{{ if eq $before \"assistant\" }}",
        &answer_question,
        "{{ end }}",
        &inserted,
        "{{ .Content }}{{ $before = \"user\" }}{{ else if eq .Role \"assistant\" }}",
        &question_answer,
        &thought.inside,
        "{{ .Content }}{{ $before = \"assistant\" }}{{ end }}{{ end }}{{ if eq $before \"user\" }}",
        &tail,
        &thought.after,
        "{{ end }}",
    ]
    .concat()
}

/// What thinking adds to a template.
#[derive(Default)]
struct Thought {
    before: &'static str,
    inside: String,
    after: String,
}

fn thought(thinking: Option<&Thinking>) -> Thought {
    let Some(thinking) = thinking else {
        return Thought::default();
    };
    // Ollama takes the texts around .Thinking for the tags between which the model thinks.
    let (open, close) = (&thinking.open, &thinking.close);
    let (before, condition) = match thinking.keeps {
        true => ("", ".Thinking"),
        false => (
            "{{ $last := 0 }}{{ range $i, $message := .Messages }}{{ if eq .Role \"user\" }}{{ $last = $i }}{{ end }}{{ end }}",
            "and .Thinking (gt $i $last)",
        ),
    };
    let off = thinking.off.as_deref().map(literal);
    Thought {
        before,
        inside: format!("{{{{ if {condition} }}}}{open}{{{{ .Thinking }}}}{close}{{{{ end }}}}"),
        after: off.map_or(String::new(), |off| {
            format!("{{{{ if and $.IsThinkSet (not $.Think) }}}}{off}{{{{ end }}}}")
        }),
    }
}

/// Text as it stands, or quoted where Go or the Modelfile would read it as something else.
fn literal(text: &str) -> String {
    match is_plain(text) {
        true => text.to_owned(),
        false => format!("{{{{ {} }}}}", quoted(text)),
    }
}

fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        c if !is_kept(c) => format!("\\U{:08x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}
