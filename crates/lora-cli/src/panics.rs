//! What a panic says. Most are bugs of ours; one that says that a thread could not be started is not.
use crate::threads::MORE_THREADS;
use crate::{Error, ending, last_words};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

/// What the last panic said, on any thread.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// How the standard library, rayon and tokio say that the system gave them no thread, or a thread no stack for its signals.
/// They have no other way: whoever asks them for work gets no error back.
const REFUSED: [&str; 5] = [
    "failed to spawn thread",
    "The global thread pool has not been initialized",
    "OS can't spawn worker thread",
    "failed to allocate an alternative stack",
    "failed to set up alternative stack guard page",
];

/// From here on panics are noted and not shown. Readers of foreign formats panic on some damaged files, and what guards them
/// makes that an error of its own; only a panic that ends the run is shown: it is a bug of ours, in the form of any other
/// error. A refused thread ends the process at once, wherever it was needed: a guard would take it for a damaged file.
pub(crate) fn note() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("unknown");
        if REFUSED.iter().any(|words| message.contains(words)) {
            last_words::end(
                format_args!("a thread could not be started: {}", reason(message)),
                MORE_THREADS,
            );
        }
        let text = told(info, message);
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }));
}

/// What the last panic said, as an error.
pub(crate) fn last() -> String {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    last.unwrap_or_default()
}

/// The system's answer in a panic's message, where an [`std::io::Error`] is written by its fields or by its words.
fn reason(message: &str) -> &str {
    let by_fields = message.split_once("message: \"");
    let words = by_fields.and_then(|(_, rest)| rest.split_once('"'));
    if let Some((words, _)) = words {
        return words;
    }
    let words = message
        .rsplit_once(": ")
        .map_or(message, |(_, words)| words);
    let words = words
        .split_once(" (os error")
        .map_or(words, |(words, _)| words);
    match words.contains(['"', '\\', '\n']) {
        true => "the system refused it", // not for a line of JSON
        false => words,
    }
}

fn told(info: &PanicHookInfo<'_>, message: &str) -> String {
    let place = info.location().map_or(String::new(), |at| {
        format!(" ({}:{})", at.file(), at.line())
    });
    let error = Error::new(format!("internal error: {message}{place}"))
        .hint("this is a bug in the tool: please report it with the command line");
    let mut text = error.render(ending::paint);
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        text.push_str(&format!("{backtrace}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_system_s() {
        let words = "Resource temporarily unavailable";
        for message in [
            "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource temporarily unavailable\" }",
            "OS can't spawn worker thread: Resource temporarily unavailable (os error 11)",
            "failed to allocate an alternative stack: Resource temporarily unavailable (os error 11)",
        ] {
            assert_eq!(reason(message), words);
        }
        assert_eq!(reason("no: \"x\\y"), "the system refused it");
    }
}
