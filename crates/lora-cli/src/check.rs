//! `TOOL --check-args`: command lines from stdin are parsed, and nothing is done with them.
use crate::Foreign as _;
use crate::failure::of_usage;
use crate::{Error, ToolArgs, peers};
use clap::Command;
use lora_records::Refusal;
use std::io::BufRead;

/// Answers every line of `stdin` (a JSON array of texts) with one line: `null`, or why the tool does not take it.
///
/// # Errors
/// When stdin can't be read, or when a line of it is no array of texts.
pub(crate) fn check_arguments<A: ToolArgs>(stdin: impl BufRead) -> crate::Result<String> {
    let mut answers = String::new();
    let mut command = peers::command::<A>(); // built once: that takes longer than to parse a line
    for line in stdin.lines() {
        let words: Vec<String> = serde_json::from_str(&line.foreign()?).foreign()?;
        let refusal = refusal::<A>(&mut command, &words);
        answers += &serde_json::to_string(&refusal).foreign()?;
        answers.push('\n');
    }
    Ok(answers)
}

/// Why the tool does not take these arguments; none if it does.
fn refusal<A: ToolArgs>(command: &mut Command, words: &[String]) -> Option<Refusal> {
    let name = command.get_name().to_owned();
    let parsed = command
        .try_get_matches_from_mut(std::iter::once(&name).chain(words))
        .and_then(|mut matches| A::from_arg_matches_mut(&mut matches));
    match parsed {
        Ok(args) => args.check().err().map(|error| refused(&error)),
        Err(error) => {
            let failure = of_usage(&error, &name);
            Some(Refusal {
                message: failure.message,
                hint: failure.hint,
                flag: flag_of(&error),
            })
        }
    }
}

fn refused(error: &Error) -> Refusal {
    let failure = error.failure(crate::ending::FAILED);
    let causes = failure.causes.iter().map(|cause| format!(": {cause}"));
    Refusal {
        message: failure.message + &causes.collect::<String>(),
        hint: failure.hint,
        flag: None,
    }
}

/// The name of the flag that an error of clap's is about.
fn flag_of(error: &clap::Error) -> Option<String> {
    let found = error.get(clap::error::ContextKind::InvalidArg)?;
    let clap::error::ContextValue::String(shown) = found else {
        return None;
    };
    let name = shown.trim_start_matches("--").split([' ', '=']).next()?;
    Some(name.trim_matches(['<', '>', '[', ']', '.']).to_lowercase())
}
