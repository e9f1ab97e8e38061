//! What a process says that can go no further: an error and its hint, written without another allocation, and its end by exit
//! code 2. Only the first of several threads speaks.
use std::fmt::Arguments;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The signal of `abort`.
#[cfg(unix)]
const ABORT: i32 = signal_hook::consts::SIGABRT;

/// True if stdout gets events.
static EVENTS: AtomicBool = AtomicBool::new(false);

/// True once a thread has begun to speak.
static SPOKEN: AtomicBool = AtomicBool::new(false);

/// Longer than the words of another thread take.
const LONG: Duration = Duration::from_secs(3600);

/// From here on the end is told on stdout, too.
pub(crate) fn tell_events() {
    EVENTS.store(true, Ordering::Relaxed);
}

/// Says it, and ends the process without a look back. `message` and `hint` hold nothing that JSON escapes.
#[cold]
pub(crate) fn end(message: Arguments<'_>, hint: &str) -> ! {
    if SPOKEN.swap(true, Ordering::SeqCst) {
        loop {
            std::thread::sleep(LONG);
        }
    }
    say(
        Stream::Stderr,
        format_args!("error: {message}\nhint: {hint}\n"),
    );
    if EVENTS.load(Ordering::Relaxed) {
        say(
            Stream::Stdout,
            format_args!(
                r#"{{"event":"error","message":"{message}","causes":[],"hint":"{hint}","exit_code":2}}{}"#,
                '\n'
            ),
        );
    }
    exit()
}

/// From here on an abort (of the C library, which found no memory for itself; of a stack that was too small) ends as any
/// other error does. Whoever aborts says why before.
#[cfg(unix)]
#[allow(unsafe_code)] // a signal's handler
pub(crate) fn speak_at_aborts() {
    let aborted = || {
        end(
            format_args!("the process was aborted, for the reason above"),
            "if that speaks of memory, give the process more (ulimit -v); otherwise this is a bug in the tool: please report it with the command line",
        )
    };
    // SAFETY: the handler formats into its own stack, writes, sleeps and ends the process, all of which a handler may do; it
    // allocates nothing and takes no lock.
    let listening = unsafe { signal_hook::low_level::register(ABORT, aborted) };
    let _ = listening; // without it the process still ends
}

#[cfg(not(unix))]
pub(crate) fn speak_at_aborts() {}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

fn say(stream: Stream, words: Arguments<'_>) {
    let mut text = [0u8; 1024];
    let size = text.len();
    let mut rest = &mut text[..];
    let _ = rest.write_fmt(words);
    let length = size - rest.len();
    write(stream, &text[..length]);
}

#[cfg(unix)]
fn write(stream: Stream, text: &[u8]) {
    let stream = match stream {
        Stream::Stdout => rustix::stdio::stdout(),
        Stream::Stderr => rustix::stdio::stderr(),
    };
    let _ = rustix::io::write(stream, text);
}

#[cfg(unix)]
fn exit() -> ! {
    signal_hook::low_level::exit(2)
}

#[cfg(not(unix))]
fn write(stream: Stream, text: &[u8]) {
    let _ = match stream {
        Stream::Stdout => std::io::stdout().write_all(text),
        Stream::Stderr => std::io::stderr().write_all(text),
    };
}

#[cfg(not(unix))]
fn exit() -> ! {
    std::process::abort()
}
