//! The chats that the tiny base learns to read and to answer from: copying, questions about a request, plain replies and
//! notes. None of them shows a call of the task API, so that it is the fine-tuning that teaches it.
use crate::request::{Call, Intent};
use crate::words::{self, ACTIONS, ADJECTIVES, DAYS, Dice, PEOPLE, PLACES, PRIORITIES, TAGS};

/// One chat: what the user says, and the assistant's answer.
pub(crate) struct Chat {
    pub(crate) prompt: String,
    pub(crate) completion: String,
}

/// A random chat. `known` tells which requests belong to the task data: those are not asked here.
pub(crate) fn chat(dice: &mut Dice, vocabulary: &[String], known: impl Fn(&str) -> bool) -> Chat {
    if dice.percent(25) {
        return repeat(dice, vocabulary);
    }
    let (call, request) = loop {
        let call = Call::random(dice);
        let request = call.to_request(dice);
        if !known(&request) {
            break (call, request);
        }
    };
    match dice.below(10) {
        0..4 => question(dice, &call, &request),
        4..7 => Chat {
            completion: reply(&call),
            prompt: request,
        },
        _ => Chat {
            completion: note(&call),
            prompt: format!(
                "{request}\n{}",
                dice.pick(&["Make a note.", "Note:", "List it."])
            ),
        },
    }
}

/// Every word of the grammar, for the copying exercises.
pub(crate) fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = ACTIONS
        .iter()
        .flat_map(|(verbs, objects)| [*verbs, *objects])
        .flatten()
        .map(|w| w.to_string())
        .collect();
    for table in [ADJECTIVES, DAYS, PEOPLE, PLACES, PRIORITIES, TAGS, OTHERS] {
        words.extend(table.iter().map(|word| word.to_string()));
    }
    words = words
        .iter()
        .flat_map(|phrase| phrase.split(' '))
        .map(str::to_owned)
        .collect();
    words.sort();
    words.dedup();
    words
}

/// Words that a task app has in its data, beside those of the requests.
const OTHERS: &[&str] = &[
    "title",
    "new",
    "due",
    "priority",
    "tags",
    "name",
    "arguments",
    "task",
    "tasks",
    "create",
    "update",
    "list",
    "complete",
    "delete",
    "done",
    "day",
    "note",
    "for",
    "with",
    "and",
    "by",
    "on",
];

fn repeat(dice: &mut Dice, vocabulary: &[String]) -> Chat {
    let completion = match dice.below(8) {
        0..3 => phrase(dice, vocabulary, 3, 8),
        3 => words::title(dice),
        4 => format!("{}, {}", words::iso_date(dice), words::title(dice)),
        5 => (0..3 + dice.below(6))
            .map(|_| char::from(b'0' + dice.below(10) as u8))
            .collect(),
        6 => format!(
            "{}_{}: \"{}\"",
            phrase(dice, vocabulary, 1, 1),
            phrase(dice, vocabulary, 1, 1),
            phrase(dice, vocabulary, 1, 4)
        ),
        _ => json_snippet(dice, vocabulary),
    };
    let prompt = format!(
        "{}: {completion}",
        dice.pick(&["Repeat", "Say", "Copy this", "Echo"])
    );
    Chat { prompt, completion }
}

fn phrase(dice: &mut Dice, vocabulary: &[String], least: usize, most: usize) -> String {
    let words = least + dice.below(most - least + 1);
    (0..words)
        .map(|_| vocabulary[dice.below(vocabulary.len())].as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A random object with random keys: the punctuation of JSON without the task API's calls.
fn json_snippet(dice: &mut Dice, vocabulary: &[String]) -> String {
    let word = |dice: &mut Dice| phrase(dice, vocabulary, 1, 1);
    match dice.below(4) {
        0 => format!(
            "{{\"{}\":\"{}\"}}",
            word(dice),
            phrase(dice, vocabulary, 1, 3)
        ),
        1 => format!(
            "{{\"{}\":[\"{}\",\"{}\"]}}",
            word(dice),
            word(dice),
            word(dice)
        ),
        2 => format!(
            "{{\"{}\":{{\"{}\":\"{}\"}}}}",
            word(dice),
            word(dice),
            phrase(dice, vocabulary, 1, 3)
        ),
        _ => format!(
            "{{\"{}\":\"{}_{}\",\"{}\":{{\"{}\":[\"{}\"]}}}}",
            word(dice),
            word(dice),
            word(dice),
            word(dice),
            word(dice),
            word(dice)
        ),
    }
}

fn question(dice: &mut Dice, call: &Call, request: &str) -> Chat {
    let nothing = || "not said".to_owned();
    let tags = if call.tags.is_empty() {
        nothing()
    } else {
        call.tags.join(", ")
    };
    let mut questions = vec![
        (
            "What is the title?",
            call.title.clone().unwrap_or_else(nothing),
        ),
        ("When is it due?", call.due.clone().unwrap_or_else(nothing)),
        (
            "Which priority?",
            call.priority.clone().unwrap_or_else(nothing),
        ),
        ("Which tags?", tags),
        ("What does the user want?", wish(call).to_owned()),
    ];
    if let Some(new_title) = &call.new_title {
        questions.push(("What is the new title?", new_title.clone()));
    }
    let (question, completion) = questions.swap_remove(dice.below(questions.len()));
    Chat {
        prompt: format!("{request}\n{question}"),
        completion,
    }
}

fn wish(call: &Call) -> &'static str {
    match call.intent {
        Intent::Create => "a new task",
        Intent::Update => "to change a task",
        Intent::List => "to see tasks",
        Intent::Complete => "to finish a task",
        Intent::Delete => "to remove a task",
    }
}

/// What an assistant says when it has done what was asked.
fn reply(call: &Call) -> String {
    let title = call.title.as_deref().unwrap_or("your tasks");
    let mut reply = match call.intent {
        Intent::Create => format!("I added {title}"),
        Intent::Update => format!("I changed {title}"),
        Intent::List => format!("Here are {title}"),
        Intent::Complete => format!("I ticked off {title}"),
        Intent::Delete => format!("I removed {title}"),
    };
    if let Some(new_title) = &call.new_title {
        reply += &format!(" to {new_title}");
    }
    if let Some(due) = &call.due {
        reply += &format!(" for {due}");
    }
    if let Some(priority) = &call.priority {
        reply += &format!(", {priority} priority");
    }
    if !call.tags.is_empty() {
        reply += &format!(", tagged {}", call.tags.join(" and "));
    }
    reply + "."
}

/// The request's fields, one a line.
fn note(call: &Call) -> String {
    let fields = [
        ("Title", call.title.clone()),
        ("New title", call.new_title.clone()),
        ("Due", call.due.clone()),
        ("Priority", call.priority.clone()),
        (
            "Tags",
            (!call.tags.is_empty()).then(|| call.tags.join(", ")),
        ),
    ];
    let lines: Vec<String> = fields
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}: {}", value?)))
        .collect();
    format!("{}\n{}", wish(call), lines.join("\n"))
        .trim_end()
        .to_owned()
}
