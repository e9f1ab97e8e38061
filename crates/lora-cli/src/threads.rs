//! Threads and processes that the system may refuse.
use crate::{Context as _, Error, Result};
use std::io;
use std::sync::OnceLock;
use std::thread::JoinHandle;

/// The way out where the system gives no thread or process.
pub const MORE_THREADS: &str = "allow more threads and processes (ulimit -u, pids.max) or a larger address space (ulimit -v): the thread of a chat template takes 512 MB of that, though hardly any memory";

/// Cores that this process may use: the threads of a tool that was asked for no number of them. The system is asked
/// once, for it reads files for the answer (cgroup limits).
#[must_use]
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Starts a thread for `what` ("reading standard input").
///
/// # Errors
/// If the system gives none.
pub fn thread<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .spawn(work)
        .map_err(refused)
        .context(|| format!("no thread for {what} could be started"))
}

/// The system's answer to who asked for a thread or a process, with the way out if it has no more to give.
pub fn refused(error: io::Error) -> Error {
    let is_short = matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory
    );
    let error = Error::foreign(error);
    match is_short {
        true => error.hint(MORE_THREADS),
        false => error,
    }
}
