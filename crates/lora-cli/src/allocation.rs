//! Memory that can't be had ends a tool as any other error does: one line, a hint, exit code 2. (A program is asked to stop
//! here only where the system counts what it gives away, e.g. under `ulimit -v`; elsewhere it is killed later.)
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// True if stdout gets events.
static EVENTS: AtomicBool = AtomicBool::new(false);

const HINT: &str = "give the process more memory (ulimit -v), or ask for less: a smaller --batch, shorter rows, a quantised base";

/// From here on the end is told on stdout, too.
pub(crate) fn tell_events() {
    EVENTS.store(true, Ordering::Relaxed);
}

/// The system's allocator, whose refusals are told.
struct Telling;

#[global_allocator]
static ALLOCATOR: Telling = Telling;

// SAFETY: every call is passed on to the system's allocator as it is; where that has nothing to give, the process ends.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        given(unsafe { System.realloc(at, layout, size) }, size)
    }
}

fn given(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        refused(bytes);
    }
    at
}

/// Says it without another allocation, and ends the process without a look back.
#[cold]
fn refused(bytes: usize) -> ! {
    let mut text = [0u8; 512];
    let mut rest = &mut text[..];
    let size = rest.len();
    let _ = write!(
        rest,
        "error: out of memory: {bytes} bytes could not be had\nhint: {HINT}\n"
    );
    let length = size - rest.len();
    say(Stream::Stderr, &text[..length]);
    if EVENTS.load(Ordering::Relaxed) {
        let mut rest = &mut text[..];
        let _ = writeln!(
            rest,
            r#"{{"event":"error","message":"out of memory: {bytes} bytes could not be had","causes":[],"hint":"{HINT}","exit_code":2}}"#
        );
        let length = size - rest.len();
        say(Stream::Stdout, &text[..length]);
    }
    end()
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

#[cfg(unix)]
fn say(stream: Stream, text: &[u8]) {
    let stream = match stream {
        Stream::Stdout => rustix::stdio::stdout(),
        Stream::Stderr => rustix::stdio::stderr(),
    };
    let _ = rustix::io::write(stream, text);
}

#[cfg(unix)]
fn end() -> ! {
    signal_hook::low_level::exit(2)
}

#[cfg(not(unix))]
fn say(stream: Stream, text: &[u8]) {
    let _ = match stream {
        Stream::Stdout => std::io::stdout().write_all(text),
        Stream::Stderr => std::io::stderr().write_all(text),
    };
}

#[cfg(not(unix))]
fn end() -> ! {
    std::process::abort()
}
