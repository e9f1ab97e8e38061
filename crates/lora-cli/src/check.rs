//! `TOOL --check-args`: command lines from stdin are parsed, by all cores if they are many, and nothing is done with them.
use crate::Foreign as _;
use crate::failure::of_usage;
use crate::{Error, ToolArgs, cores, peers};
use clap::Command;
use lora_records::Refusal;
use std::io::BufRead;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

/// Lines that a thread takes at once. More of them are shared by all cores.
const LINES: usize = 64;

/// Answers every line of `stdin` (a JSON array of texts) with one line: `null`, or why the tool does not take it.
///
/// # Errors
/// When stdin can't be read, or when a line of it is no array of texts.
pub(crate) fn check_arguments<A: ToolArgs>(stdin: impl BufRead + Send) -> crate::Result<String> {
    let lines = Mutex::new(Lines { stdin, taken: 0 });
    let Some(first) = take(&lines)? else {
        return Ok(String::new());
    };
    let others = if first.lines.len() < LINES {
        1
    } else {
        cores()
    } - 1;
    let mut answers = std::thread::scope(|scope| -> crate::Result<_> {
        let start = |_| {
            std::thread::Builder::new()
                .spawn_scoped(scope, || answer_all::<A>(None, &lines))
                .ok() // without one the others do its work
        };
        let others: Vec<_> = (0..others).map_while(start).collect();
        let mut answers = answer_all::<A>(Some(first), &lines)?;
        for other in others {
            answers.extend(other.join().unwrap_or_else(|e| resume_unwind(e))?);
        }
        Ok(answers)
    })?;
    answers.sort_by_key(|(place, _)| *place);
    Ok(answers.into_iter().map(|(_, answers)| answers).collect())
}

/// Command lines as they come.
struct Lines<R> {
    stdin: R,
    taken: usize,
}

/// Neighbouring lines, and where the first of them stood.
struct Batch {
    place: usize,
    lines: Vec<String>,
}

fn take<R: BufRead>(lines: &Mutex<Lines<R>>) -> crate::Result<Option<Batch>> {
    let mut from = lines.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lines = Vec::new();
    for line in from.stdin.by_ref().lines().take(LINES) {
        lines.push(line.foreign()?);
    }
    let place = from.taken;
    from.taken += lines.len();
    Ok((!lines.is_empty()).then_some(Batch { place, lines }))
}

/// Answers `first` and then whatever is left, each with its place.
fn answer_all<A: ToolArgs>(
    mut first: Option<Batch>,
    lines: &Mutex<Lines<impl BufRead>>,
) -> crate::Result<Vec<(usize, String)>> {
    let mut command = peers::command::<A>(); // built once: that takes longer than to parse a line
    let mut all = Vec::new();
    while let Some(some) = first
        .take()
        .map_or_else(|| take(lines), |some| Ok(Some(some)))?
    {
        let mut answers = String::new();
        for line in &some.lines {
            let words: Vec<String> = serde_json::from_str(line).foreign()?;
            let refusal = refusal::<A>(&mut command, &words);
            answers += &serde_json::to_string(&refusal).foreign()?;
            answers.push('\n');
        }
        all.push((some.place, answers));
    }
    Ok(all)
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
