//! The keys of all common layouts of rows: which of them make a layout, which go with it, and which change what a row
//! means in a way that can't be read. Any other key is counted and named, never used in silence.
use crate::refusal::Refusal;
use serde_json::{Map, Value};

/// The layouts by their keys, for messages to people.
pub const KNOWN_KEYS: &str = "messages | conversations | prompt + completion | instruction (+ input) + output | \
                              query + response | question + answer | text";

/// Keys of layouts that columns of other names can stand for.
pub const LAYOUT_KEYS: &[&str] = &[
    "messages",
    "prompt",
    "completion",
    "system",
    "history",
    "tools",
    "text",
    "instruction",
    "input",
    "output",
];

/// Keys that belong to a question, in layouts that read them and in those that do not.
const BESIDE_QUESTION: [&str; 5] = ["context", "input", "passage", "choices", "options"];

/// How a layout is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A list of messages under this key: OpenAI's `role` and `content`, ShareGPT's `from` and `value`, of one row both.
    Chat(&'static str),
    /// What is asked, and what is learned; `more` goes behind the question, two lines down.
    Pair {
        prompt: &'static str,
        completion: &'static str,
        more: &'static [&'static str],
    },
    /// A list of texts, question and answer in turn (UltraChat as first published).
    Turns(&'static str),
    /// Text of which every token is learned.
    Text,
}

impl Form {
    const fn pair(prompt: &'static str, completion: &'static str) -> Self {
        Self::Pair {
            prompt,
            completion,
            more: &[],
        }
    }

    /// The keys without which it is another layout.
    pub(crate) fn needs(self) -> Vec<&'static str> {
        match self {
            Self::Chat(key) | Self::Turns(key) => vec![key],
            Self::Pair {
                prompt, completion, ..
            } => vec![prompt, completion],
            Self::Text => vec!["text"],
        }
    }

    /// Whether it has this key.
    pub(crate) fn reads(self, key: &str) -> bool {
        let more: &[&str] = match self {
            Self::Pair { more, .. } => more,
            _ => &[],
        };
        self.needs().contains(&key) || self.takes().contains(&key) || more.contains(&key)
    }

    /// Whether it is told apart what is asked and what is answered.
    fn has_answer(self) -> bool {
        self != Self::Text
    }

    /// The keys that are read if they are there.
    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Chat(_) => CHAT_KEYS,
            Self::Pair { .. } => PAIR_KEYS,
            Self::Turns(_) => &["system"],
            Self::Text => &[],
        }
    }
}

/// The layouts, in the order in which they are looked for.
const FORMS: &[Form] = &[
    Form::Chat("messages"),
    Form::Chat("conversations"),
    Form::Chat("conversation"),
    Form::pair("prompt", "completion"),
    // Alpaca and Dolly.
    Form::Pair {
        prompt: "instruction",
        completion: "output",
        more: &["input"],
    },
    Form::Pair {
        prompt: "instruction",
        completion: "response",
        more: &["context", "input"],
    },
    Form::pair("query", "response"),
    Form::pair("prompt", "response"),
    Form::pair("question", "answer"),
    Form::pair("question", "response"),
    Form::pair("input", "output"),
    Form::Turns("data"),
    Form::Text,
];

/// What may stand beside messages.
const CHAT_KEYS: &[&str] = &[
    "system",
    "system_prompt",
    "tools",
    "functions",
    "chat_template_kwargs",
    "parallel_tool_calls", // an option of a request, which no text shows
];

/// What may stand beside a question and its answer.
const PAIR_KEYS: &[&str] = &[
    "system",
    "system_prompt",
    "history",
    "tools",
    "functions",
    "chat_template_kwargs",
    "parallel_tool_calls",
];

/// Keys that make another thing of a row, and what that is.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "parent_id",
        "a message of a tree (OASST): walk each path from its root and write it as {\"messages\": […]}",
    ),
    (
        "message_tree_id",
        "a tree of messages (OASST): walk each path from its root and write it as {\"messages\": […]}",
    ),
    (
        "replies",
        "a tree of messages (OASST): walk each path from its root and write it as {\"messages\": […]}",
    ),
    ("chosen", PREFERENCE),
    ("rejected", PREFERENCE),
    ("rejected_response", PREFERENCE),
    ("kto_tag", PREFERENCE),
    ("images", MEDIA),
    ("image", MEDIA),
    ("videos", MEDIA),
    ("video", MEDIA),
    ("audios", MEDIA),
    ("audio", MEDIA),
];
const PREFERENCE: &str = "a preference of one answer over another, which supervised training doesn't learn: \
                          --columns completion=chosen --ignore rejected takes the preferred one \
                          (messages=chosen where it is a list of messages)";
const MEDIA: &str = "an image, video or sound: only text is learned";

/// Keys beside which `text` is no plain text.
const BESIDE_TEXT: &[&str] = &[
    "role",
    "from",
    "system",
    "history",
    "prompt",
    "completion",
    "instruction",
    "output",
    "query",
    "question",
    "response",
    "answer",
];

/// Whether a row says something under a key: null, and what an empty column makes, is nothing.
pub(crate) fn has(row: &Map<String, Value>, key: &str) -> bool {
    match row.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}

/// The layout of a row: the first whose keys are all there and not null, and which reads the keys that were named for it.
pub(crate) fn form<'k>(
    row: &Map<String, Value>,
    named: impl Iterator<Item = &'k str> + Clone,
) -> Option<Form> {
    let is_there = |key: &&str| row.get(*key).is_some_and(|value| !value.is_null());
    let mut fitting = FORMS
        .iter()
        .copied()
        .filter(|form| form.needs().iter().all(is_there));
    fitting.find(|form| named.clone().all(|key| form.reads(key)))
}

/// A key of a layout whose keys are all there, but which is null.
pub(crate) fn null_key(row: &Map<String, Value>) -> Option<&'static str> {
    let all = |form: &&Form| form.needs().iter().all(|key| row.contains_key(*key));
    let form = FORMS.iter().find(all)?;
    form.needs().into_iter().find(|key| row[*key].is_null())
}

/// Refuses keys that make another thing of a row than its layout says.
pub(crate) fn refuse_otherwise(
    row: &Map<String, Value>,
    form: Option<Form>,
) -> Result<(), Refusal> {
    let refuse = |key: &str, what: &str| Err(Refusal::Key(key.to_owned(), what.to_owned()));
    if let Some((key, what)) = OTHERWISE.iter().find(|(key, _)| has(row, key)) {
        return refuse(key, what);
    }
    // The first message of a tree has no parent.
    if has(row, "message_id") && row.contains_key("parent_id") {
        return refuse("message_id", OTHERWISE[0].1);
    }
    if form.is_some_and(Form::has_answer) && row.get("label").and_then(wanted) == Some(false) {
        return refuse("label", "false: an answer that is not to be learned (KTO)");
    }
    if let Some(
        form @ Form::Pair {
            prompt, completion, ..
        },
    ) = form
    {
        let says = |key: &&&str| match &row.get(**key) {
            Some(Value::String(text)) => !text.trim().is_empty(),
            _ => has(row, key),
        };
        let mut unread = BESIDE_QUESTION.iter().filter(|key| !form.reads(key));
        if let Some(key) = unread.find(says) {
            let what = format!(
                "part of what is asked, and this layout does not read it: --prompt-template '{{{key}}}\\n\\n{{{prompt}}}' \
                 --columns completion={completion} joins them, --ignore {key} leaves it out"
            );
            return refuse(key, &what);
        }
    }
    if form == Some(Form::Text)
        && let Some(key) = BESIDE_TEXT.iter().find(|key| has(row, key))
    {
        return refuse(
            key,
            "the key of another layout beside 'text': --ignore or --columns says what is meant",
        );
    }
    Ok(())
}

/// Whether an answer is wanted, by a `label` that says so: true or false, which a table may hold as text.
fn wanted(label: &Value) -> Option<bool> {
    match label {
        Value::Bool(wanted) => Some(*wanted),
        Value::String(text) => match &text.trim().to_ascii_lowercase()[..] {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The keys of a row that its layout doesn't read.
pub(crate) fn unused(row: &Map<String, Value>, form: Form) -> Vec<String> {
    let is_used = |key: &str| {
        // A label of true or false says whether the answer is wanted (KTO); any other is metadata.
        form.reads(key) || (form.has_answer() && key == "label" && wanted(&row[key]).is_some())
    };
    row.keys()
        .filter(|key| !is_used(key) && has(row, key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every layout is found by its own keys alone: none stands behind one that needs fewer of them.
    #[test]
    fn every_layout_can_be_reached() {
        for form in FORMS {
            let row = form
                .needs()
                .into_iter()
                .map(|key| (key.to_owned(), "x".into()));
            assert_eq!(super::form(&row.collect(), std::iter::empty()), Some(*form));
        }
    }
}
