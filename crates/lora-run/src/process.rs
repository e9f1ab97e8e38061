//! One step's process: its output into the log and before people's eyes, its end explained.
use crate::guard::{NOT_STARTED, Watch, guarded};
use crate::live::Live;
use crate::secret::hide;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, MORE_THREADS, Result, Ui};
use lora_records::{Event, Failure};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that are kept, and lines that are shown, to explain the failure of a process that tells nothing of itself.
const KEPT: usize = 12;
const LAST: usize = 5;
/// How often we look whether we were asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Why it ended without success, in a tool's own words.
    pub(crate) told: Option<Failure>,
    /// The last lines of a process that tells nothing of itself.
    pub(crate) tail: Vec<String>,
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// A tool: its stdout is data, its stderr for people.
    Tool,
    /// A shell line: both are for people.
    Line,
}

/// A process to run.
#[derive(Debug)]
pub(crate) struct Job<'j> {
    pub(crate) step: &'j str,
    pub(crate) command: Command,
    pub(crate) kind: Kind,
    /// What heads the log.
    pub(crate) title: &'j str,
    pub(crate) log: &'j Path,
    /// The pipeline's lock, which is empty. It is the process's stdin, so that the lock is held as long as the process
    /// or a child of it lives, also when lora-run itself was killed.
    pub(crate) lock: &'j File,
    /// What must not stand in the log.
    pub(crate) secrets: &'j [String],
}

/// Runs a process to its end; both its streams go to the log.
pub(crate) fn run(ui: &Ui, job: Job<'_>) -> Result<Ended> {
    let Job {
        step,
        command,
        kind,
        title,
        log,
        lock,
        secrets,
    } = job;
    let failed = || format!("failed to write the log {}", log.display());
    let mut file = File::create(log).foreign().context(failed)?;
    writeln!(file, "$ {title}").foreign().context(failed)?;
    let file = Arc::new(Mutex::new(file));
    let watch = match kind {
        Kind::Tool => Watch::Becomes,
        Kind::Line => Watch::Stays,
    };
    let mut guard = guarded(&command, watch);
    guard
        .stdin(Stdio::from(lock.try_clone().foreign().context(failed)?))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = guard
        .spawn()
        .map_err(lora_cli::refused)
        .context(|| format!("failed to start {}", command.get_program().display()))?;
    let (ends, done) = mpsc::channel::<()>();
    let seen = match kind {
        Kind::Tool => Seen::Events(Live::new(ui, step)),
        Kind::Line => Seen::Lines(ui.clone()),
    };
    let into = || (file.clone(), secrets.to_vec());
    let stdout = child.stdout.take();
    let stdout = stdout.map(|stream| follow(stream, into(), seen, ends.clone()));
    let stderr = child.stderr.take();
    let stderr = stderr.map(|stream| follow(stream, into(), Seen::Lines(ui.clone()), ends));
    let followed = stdout
        .transpose()
        .and_then(|out| Ok([out, stderr.transpose()?]));
    let followed = match followed {
        Ok(followed) => followed,
        Err(error) => {
            abandon(&mut child);
            return Err(error);
        }
    };
    let status = wait(ui, &mut child, &done)?;
    let mut ended = Ended {
        status,
        told: None,
        tail: Vec::new(),
    };
    for thread in followed.into_iter().flatten() {
        let (told, tail) = thread.join().unwrap_or_default();
        ended.told = ended.told.or(told);
        ended.tail = tail;
    }
    Ok(ended)
}

/// What people see of a stream.
#[derive(Debug)]
enum Seen {
    /// Its lines.
    Lines(Ui),
    /// The progress that it tells.
    Events(Live),
}

/// A thread that ends with the reason why a tool failed, if it told, and its last lines.
type Follower = JoinHandle<(Option<Failure>, Vec<String>)>;

/// Copies a stream line by line.
fn follow(
    stream: impl Read + Send + 'static,
    (log, secrets): (Arc<Mutex<File>>, Vec<String>),
    mut seen: Seen,
    ends: mpsc::Sender<()>,
) -> Result<Follower> {
    lora_cli::thread("a step's output", move || {
        let _ends = ends; // dropped when the stream ends
        let mut stream = BufReader::new(stream);
        let mut tail = VecDeque::new();
        let mut bytes = Vec::new();
        let mut told = None;
        while stream.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let text = hide(&String::from_utf8_lossy(&bytes), &secrets);
            let line = text.trim_end().to_owned();
            let mut is_progress = false;
            match &mut seen {
                Seen::Lines(ui) => ui.say(&format!("  {line}")),
                Seen::Events(live) => match Event::parse(&line) {
                    Some(Event::Progress(progress)) => {
                        is_progress = true;
                        live.show(&progress);
                    }
                    Some(Event::Error(failure) | Event::No(failure)) => told = Some(failure),
                    _ => {}
                },
            }
            if !is_progress {
                // A full disk must not stop the step for the sake of its log.
                let _ = log
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .write_all(text.as_bytes());
                tail.push_back(line);
            }
            if tail.len() > KEPT {
                tail.pop_front();
            }
            bytes.clear();
        }
        (told, tail.into())
    })
}

/// Waits for the process, and passes a request to stop on to it.
fn wait(ui: &Ui, child: &mut Child, done: &mpsc::Receiver<()>) -> Result<ExitStatus> {
    let failed = || "failed to wait for a step".to_owned();
    let mut told = false;
    loop {
        match done.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) | Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return child.wait().foreign().context(failed);
            }
        }
        let Some(signal) = ui.interrupted_by() else {
            continue;
        };
        if !told {
            told = true;
            pass_on(child, signal);
        }
        if child.try_wait().foreign().context(failed)?.is_some() {
            end_what_is_left(child); // it would hold the streams open
        }
    }
}

/// Tells a step of a signal; one that stays for its line tells that.
#[cfg(unix)]
fn pass_on(child: &Child, signal: i32) {
    use nix::sys::signal::{Signal, kill};
    let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(nix::unistd::Pid::from_raw(pid), signal); // it may be gone
    }
}

/// A console tells all of its processes.
#[cfg(not(unix))]
fn pass_on(_: &Child, _: i32) {}

/// Ends a step that nobody can listen to.
fn abandon(child: &mut Child) {
    let _ = child.kill(); // it may be gone
    end_what_is_left(child);
    let _ = child.wait();
}

/// Ends what a step that was asked to stop has started and left.
#[cfg(unix)]
fn end_what_is_left(child: &Child) {
    use nix::sys::signal::{Signal, killpg};
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
    }
}

#[cfg(not(unix))]
fn end_what_is_left(_: &Child) {}

/// The error for a step that failed: what its tool told of it, or the last lines of a shell line.
pub(crate) fn failure(step: &str, ended: &Ended, log: &Path) -> Error {
    let how = match ended.status.code() {
        Some(code) => format!("failed with exit code {code}"),
        None => format!("was killed{}", signal(ended.status)),
    };
    let title = format!("step {step} {how} (its log: {})", log.display());
    let (causes, hint) = match &ended.told {
        Some(told) => {
            let message = std::iter::once(told.message.clone());
            let causes = message.chain(told.causes.iter().cloned()).collect();
            (causes, told.hint.clone())
        }
        None => {
            let from = ended.tail.len().saturating_sub(LAST);
            (vec![ended.tail[from..].join("\n")], None)
        }
    };
    let mut causes = causes.into_iter().rev().filter(|cause| !cause.is_empty());
    let error = match causes.next() {
        Some(innermost) => causes
            .fold(Error::new(innermost), |error, cause| error.context(cause))
            .context(title),
        None => Error::new(title),
    };
    let says_nothing = ended.told.is_none() && ended.tail.is_empty();
    match hint {
        Some(hint) => error.hint(hint),
        None if says_nothing && ended.status.code() == Some(i32::from(NOT_STARTED)) => {
            error.hint(MORE_THREADS)
        }
        None if ended.status.code().is_none() => {
            error.hint("a process that is killed from outside was often out of memory")
        }
        None => error.hint("when its cause is mended, the same command goes on from this step"),
    }
}

/// The reason that a tool gave with exit code 1.
pub(crate) fn answer(ended: &Ended) -> String {
    let told = ended.told.as_ref().map(|told| told.message.clone());
    told.or(ended.tail.last().cloned())
        .unwrap_or_else(|| "the answer is no".to_owned())
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .signal()
        .map_or(String::new(), |signal| format!(" by signal {signal}"))
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> String {
    String::new()
}
