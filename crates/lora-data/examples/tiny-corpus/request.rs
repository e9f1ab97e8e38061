//! What a person may ask of the task API: the call itself, and the many ways to say it.
use crate::words::{self, Dice, PRIORITIES};
use serde_json::{Map, Value, json};

/// The five calls of the task API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Create,
    Update,
    List,
    Complete,
    Delete,
}

/// One call: which arguments it carries, and the title that it is about.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) intent: Intent,
    pub(crate) title: Option<String>,
    pub(crate) new_title: Option<String>,
    pub(crate) due: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) tags: Vec<String>,
}

impl Call {
    /// A random call.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let intent = match dice.below(100) {
            0..48 => Intent::Create,
            48..70 => Intent::Update,
            70..80 => Intent::List,
            80..90 => Intent::Complete,
            _ => Intent::Delete,
        };
        let mut call = Self {
            intent,
            title: None,
            new_title: None,
            due: None,
            priority: None,
            tags: vec![],
        };
        if intent != Intent::List {
            call.title = Some(words::title(dice));
        }
        match intent {
            Intent::Create | Intent::List => {
                call.due = dice.percent(60).then(|| words::due(dice));
                call.priority = dice.percent(40).then(|| dice.pick(PRIORITIES).to_owned());
                call.tags = if dice.percent(40) {
                    words::tags(dice)
                } else {
                    vec![]
                };
            }
            Intent::Update => match dice.below(5) {
                0 => call.due = Some(words::due(dice)),
                1 => call.priority = Some(dice.pick(PRIORITIES).to_owned()),
                2 => call.tags = words::tags(dice),
                3 => call.new_title = Some(words::title(dice)),
                _ => {
                    call.due = Some(words::due(dice));
                    call.priority = Some(dice.pick(PRIORITIES).to_owned());
                }
            },
            Intent::Complete | Intent::Delete => {}
        }
        call
    }

    /// The call as JSON, as a tool-calling model writes it.
    pub(crate) fn to_json(&self) -> String {
        let name = match self.intent {
            Intent::Create => "create_task",
            Intent::Update => "update_task",
            Intent::List => "list_tasks",
            Intent::Complete => "complete_task",
            Intent::Delete => "delete_task",
        };
        let mut arguments = Map::new();
        let fields = [
            ("title", &self.title),
            ("new_title", &self.new_title),
            ("due", &self.due),
            ("priority", &self.priority),
        ];
        for (key, value) in fields {
            if let Some(value) = value {
                arguments.insert(key.to_owned(), json!(value));
            }
        }
        if !self.tags.is_empty() {
            arguments.insert("tags".to_owned(), json!(self.tags));
        }
        json!({ "name": name, "arguments": Value::Object(arguments) }).to_string()
    }

    /// The call as a person asks for it.
    pub(crate) fn to_request(&self, dice: &mut Dice) -> String {
        let request = match self.intent {
            Intent::Create => self.ask_to_create(dice),
            Intent::Update => self.ask_to_update(dice),
            Intent::List => self.ask_to_list(dice),
            Intent::Complete => dice.pick(COMPLETE).replace('@', &self.quoted_title(dice)),
            Intent::Delete => dice.pick(DELETE).replace('@', &self.quoted_title(dice)),
        };
        capitalised(&request) + dice.pick(&["", "", "", "", ".", ".", ", thanks", ", please"])
    }

    /// The title, now and then in quotes.
    fn quoted_title(&self, dice: &mut Dice) -> String {
        let title = self.title.as_deref().unwrap_or_default();
        if dice.percent(15) {
            format!("\"{title}\"")
        } else {
            title.to_owned()
        }
    }

    fn ask_to_create(&self, dice: &mut Dice) -> String {
        let mut priority = self.priority.as_deref();
        let lead = match priority {
            Some(level) if dice.percent(20) => {
                priority = None;
                dice.pick(CREATE_WITH_PRIORITY).replace('%', level)
            }
            _ => dice.pick(CREATE).to_owned(),
        };
        let mut request = lead.replace('@', &self.quoted_title(dice));
        let mut additions = Vec::new();
        if let Some(due) = &self.due {
            additions.push(day_phrase(dice, due));
        }
        if let Some(level) = priority {
            additions.push(priority_phrase(dice, level));
        }
        if !self.tags.is_empty() {
            additions.push(tags_phrase(dice, &self.tags));
        }
        dice.shuffle(&mut additions);
        request.extend(additions);
        request
    }

    fn ask_to_update(&self, dice: &mut Dice) -> String {
        let title = self.quoted_title(dice);
        let due = self.due.as_deref().unwrap_or_default();
        let level = self.priority.as_deref().unwrap_or_default();
        let phrases = match (&self.new_title, &self.due, &self.priority) {
            (Some(_), ..) => RENAME,
            (_, Some(_), Some(_)) => RESCHEDULE_AND_RANK,
            (_, Some(_), None) => RESCHEDULE,
            (_, None, Some(_)) => RANK,
            _ => RETAG,
        };
        let new_title = self.new_title.as_deref().unwrap_or_default();
        dice.pick(phrases)
            .replace('@', &title)
            .replace('$', due)
            .replace('%', level)
            .replace('&', new_title)
            .replace('*', &self.tags.join(" and "))
    }

    fn ask_to_list(&self, dice: &mut Dice) -> String {
        let mut request = dice.pick(LIST).to_owned();
        let level = self
            .priority
            .as_deref()
            .map(|level| format!(" {level} priority"))
            .unwrap_or_default();
        request = request.replace('%', &level);
        if !self.tags.is_empty() {
            request += &format!(
                " {} {}",
                dice.pick(&["tagged", "with the tag", "about"]),
                self.tags.join(" and ")
            );
        }
        if let Some(due) = &self.due {
            request += &day_phrase(dice, due);
        }
        request
    }
}

fn day_phrase(dice: &mut Dice, due: &str) -> String {
    format!(" {} {due}", dice.pick(&["on", "by", "for", "due"]))
}

fn priority_phrase(dice: &mut Dice, level: &str) -> String {
    match dice.below(5) {
        0 => format!(" with {level} priority"),
        1 => format!(", {level} priority"),
        2 => format!(", priority {level}"),
        3 => format!(" ({level})"),
        _ => match level {
            "high" => ", it is urgent".to_owned(),
            "low" => ", no rush".to_owned(),
            _ => format!(" at {level} priority"),
        },
    }
}

fn tags_phrase(dice: &mut Dice, tags: &[String]) -> String {
    let list = tags.join(" and ");
    match dice.below(4) {
        0 => format!(", tag it {list}"),
        1 => format!(", tagged {list}"),
        2 => format!(" and tag it with {list}"),
        _ => tags.iter().map(|tag| format!(" #{tag}")).collect(),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

// In the phrases @ is the title, & the new title, $ the day, % the priority, * the tags.
const CREATE: &[&str] = &[
    "add a task to @",
    "remind me to @",
    "add @",
    "I need to @",
    "create a task: @",
    "new task: @",
    "put @ on my list",
    "can you add @",
    "note that I have to @",
    "add @ to my tasks",
    "I have to @",
    "remember to @",
    "I want to @",
    "todo: @",
];
const CREATE_WITH_PRIORITY: &[&str] = &[
    "add a % priority task to @",
    "create a % priority task: @",
    "new % priority task: @",
    "put @ on my list as % priority",
];
const RENAME: &[&str] = &[
    "rename @ to &",
    "change the title of @ to &",
    "call the task @ now &",
    "replace @ by &",
    "the task @ should say &",
];
const RESCHEDULE: &[&str] = &[
    "move @ to $",
    "change the day of @ to $",
    "shift @ to $",
    "the task @ is now due $",
    "set @ to $",
    "do @ on $ instead",
    "let us move @ to $",
];
const RANK: &[&str] = &[
    "set the priority of @ to %",
    "make @ % priority",
    "change @ to % priority",
    "the task @ is now % priority",
    "give @ % priority",
];
const RESCHEDULE_AND_RANK: &[&str] = &[
    "move @ to $ and make it % priority",
    "set @ to $ with % priority",
    "shift @ to $, % priority",
    "the task @ is now due $ with % priority",
];
const RETAG: &[&str] = &[
    "tag @ with *",
    "add the tags * to @",
    "the task @ belongs to *",
    "label @ as *",
    "mark @ with the tag *",
];
const LIST: &[&str] = &[
    "show my% tasks",
    "list all% tasks",
    "what are my% tasks",
    "which% tasks do I have",
    "give me the% tasks",
    "find% tasks",
    "show me the% tasks",
];
const COMPLETE: &[&str] = &[
    "mark @ as done",
    "I have finished: @",
    "complete @",
    "tick off @",
    "close the task @",
    "done: @",
    "I managed to @",
    "the task @ is done",
    "finished with @",
];
const DELETE: &[&str] = &[
    "delete @",
    "remove @ from my list",
    "cancel the task @",
    "drop @",
    "forget about @",
    "I no longer need to @",
    "erase @",
    "take @ off my list",
];
