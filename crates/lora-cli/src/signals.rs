//! One story for every signal that asks a tool to end: it stops at a clean point within a second, or is ended there with its old
//! output in place; a second request ends it at once.
use crate::ending::INTERRUPT;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The signal that asked to stop; 0 as long as none has.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// True while the work comes to its end by itself, however long that takes: it has something to write.
static TAKES_ITS_TIME: AtomicBool = AtomicBool::new(false);

/// True if Ctrl-C ends a part of the work only.
static STAYS: AtomicBool = AtomicBool::new(false);

/// When the request that counts came.
static FIRST: Mutex<Option<Instant>> = Mutex::new(None);

/// The signal of Ctrl-C.
const CTRL_C: i32 = 2;

/// How long the work may take to come to a clean point.
const GRACE: Duration = Duration::from_millis(700);

/// A request that comes so soon after the first is the same one: a terminal and a supervisor tell everybody.
const SAME: Duration = Duration::from_millis(300);

/// The signal that asked to stop, if one has.
pub(crate) fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// From here on the work ends by itself when it is asked to.
pub(crate) fn take_time() {
    TAKES_ITS_TIME.store(true, Ordering::SeqCst);
}

/// From here on Ctrl-C ends a part of the work, and the tool goes on.
pub(crate) fn stay() {
    STAYS.store(true, Ordering::SeqCst);
}

/// The part is at its end: the next request is a first one.
pub(crate) fn forgive() {
    RECEIVED.store(0, Ordering::SeqCst);
    *FIRST.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Listens for INT, TERM and HUP, and says that it is ending (HUP only if whoever started us has not switched it off, as nohup does).
#[cfg(unix)]
pub(crate) fn listen(say: impl Fn(&str) + Clone + Send + 'static) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    // A file that may not grow (ulimit -f) is an error of whoever writes it, once its signal does not end the process.
    let _ = signal_hook::flag::register(SIGXFSZ, std::sync::Arc::default());
    let mut wanted = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    // Without a handler a signal still ends the process, only less politely.
    let Ok(mut signals) = signal_hook::iterator::Signals::new(wanted) else {
        return;
    };
    let listening = std::thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            asked(&say, signal);
        }
    });
    let _ = listening; // as above
}

/// Listens for Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn listen(say: impl Fn(&str) + Clone + Send + 'static) {
    let _ = ctrlc::set_handler(move || asked(&say, CTRL_C));
}

/// True if the signal does nothing to this process. Known on Linux; elsewhere such a signal is taken.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn asked(say: &(impl Fn(&str) + Clone + Send + 'static), signal: i32) {
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    match *first {
        Some(first) if first.elapsed() < SAME => {}
        Some(_) => end(),
        None => {
            *first = Some(Instant::now());
            RECEIVED.store(signal, Ordering::SeqCst);
            if signal == CTRL_C && STAYS.load(Ordering::SeqCst) {
                return;
            }
            // Nobody may read stderr, or take what is written there: that must not keep the end from coming.
            let ending = std::thread::Builder::new().spawn(end_after_grace);
            let say = say.clone();
            let say = move || say("stopping (Ctrl-C again stops at once)");
            let _ = std::thread::Builder::new().spawn(say); // the end comes without it, too
            if ending.is_err() {
                drop(first);
                end_after_grace();
            }
        }
    }
}

/// Ends work that has nothing to write and does not come to its end.
fn end_after_grace() {
    std::thread::sleep(GRACE);
    if !TAKES_ITS_TIME.load(Ordering::SeqCst) {
        end();
    }
}

#[allow(clippy::exit)] // the work did not come to its end by itself
fn end() {
    std::process::exit(INTERRUPT.into());
}
