//! How a tool that did not succeed says so on stdout in JSON mode: its last line.
use crate::Ui;
use lora_records::{Event, Failure};
use std::io::{IsTerminal as _, Write as _};

/// A usage error of clap's as an event has it.
pub(crate) fn of_usage(error: &clap::Error, tool: &str) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(one_line);
    let message = paragraphs.next().unwrap_or_default();
    let tip = paragraphs.find_map(|text| text.strip_prefix("tip: ").map(str::to_owned));
    Failure {
        message: message.trim_start_matches("error: ").to_owned(),
        causes: Vec::new(),
        hint: tip.or_else(|| Some(format!("{tool} --help explains the flags, with examples"))),
        exit_code: u8::try_from(error.exit_code()).unwrap_or(crate::ending::FAILED),
    }
}

/// Says a usage error on stdout, if that is for machines: there is no [`Ui`] yet, for the flags that shape it are not
/// known.
pub(crate) fn say_usage(error: &clap::Error, tool: &str) {
    let is_json = std::env::args_os().any(|word| word == "--json");
    let is_for_machines = is_json || !std::io::stdout().is_terminal();
    if !error.use_stderr() || !is_for_machines {
        return;
    }
    if let Ok(line) = serde_json::to_string(&Event::Error(of_usage(error, tool))) {
        let _ = writeln!(std::io::stdout(), "{line}"); // nobody may be listening
    }
}

/// The honest answer no.
pub(crate) fn no(reason: &str) -> Event {
    Event::No(Failure {
        message: reason.to_owned(),
        causes: Vec::new(),
        hint: None,
        exit_code: crate::ending::NO,
    })
}

/// A bug of ours, as the last panic told it.
pub(crate) fn bug(ui: &Ui, told: &str) {
    let message = told.lines().next().unwrap_or_default();
    ui.event(&Event::Error(Failure {
        message: message.trim_start_matches("error: ").to_owned(),
        causes: Vec::new(),
        hint: Some("this is a bug in the tool: please report it with the command line".to_owned()),
        exit_code: crate::ending::FAILED,
    }));
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
