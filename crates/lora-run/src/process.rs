//! One step's process: its output into the log and before people's eyes, its end explained.
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result, Ui};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of stderr that are kept to explain a failure.
const KEPT: usize = 12;
/// A process that does not stop by itself this long after an interrupt did not hear of it: then it is told. On a
/// terminal Ctrl-C reaches it without us, and a second one would stop it at once, so there we wait longer.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_ON_TERMINAL: Duration = Duration::from_secs(60);

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The last lines of its stderr.
    pub(crate) tail: Vec<String>,
}

/// Which of a process's streams people see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shown {
    /// stderr: stdout is data.
    Stderr,
    /// Both, of a shell line.
    Both,
}

/// Runs `command` to its end; both streams go to `log`, headed by `title`.
pub(crate) fn run(
    ui: &Ui,
    mut command: Command,
    title: &str,
    log: &Path,
    shown: Shown,
) -> Result<Ended> {
    let failed = || format!("failed to write the log {}", log.display());
    let mut file = File::create(log).foreign().context(failed)?;
    writeln!(file, "$ {title}").foreign().context(failed)?;
    let file = Arc::new(Mutex::new(file));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .foreign()
        .context(|| format!("failed to start {}", command.get_program().display()))?;
    let (ends, done) = mpsc::channel::<()>();
    let stdout = child.stdout.take().map(|stream| {
        let live = (shown == Shown::Both).then(|| ui.clone());
        follow(stream, file.clone(), live, ends.clone())
    });
    let stderr = child
        .stderr
        .take()
        .map(|stream| follow(stream, file.clone(), Some(ui.clone()), ends));
    let status = wait(ui, &mut child, &done)?;
    let mut tail = Vec::new();
    for thread in [stdout, stderr].into_iter().flatten() {
        tail = thread.join().unwrap_or_default();
    }
    Ok(Ended { status, tail })
}

/// Copies a stream line by line; returns its last lines.
fn follow(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<File>>,
    live: Option<Ui>,
    ends: mpsc::Sender<()>,
) -> std::thread::JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let _ends = ends; // dropped when the stream ends
        let mut stream = BufReader::new(stream);
        let mut tail = VecDeque::new();
        let mut bytes = Vec::new();
        while stream.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            // A full disk must not stop the step for the sake of its log.
            let _ = log
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(&bytes);
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if let Some(ui) = &live {
                ui.say(&format!("  {line}"));
            }
            tail.push_back(line);
            if tail.len() > KEPT {
                tail.pop_front();
            }
            bytes.clear();
        }
        tail.into()
    })
}

/// Waits for the process, and passes an interrupt on if it reached only us.
fn wait(ui: &Ui, child: &mut Child, done: &mpsc::Receiver<()>) -> Result<ExitStatus> {
    let patience = if ui.at_terminal() {
        PATIENCE_ON_TERMINAL
    } else {
        PATIENCE
    };
    let mut since: Option<Instant> = None;
    let mut told = false;
    loop {
        match done.recv_timeout(Duration::from_millis(200)) {
            Err(RecvTimeoutError::Timeout) | Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return child
                    .wait()
                    .foreign()
                    .context(|| "failed to wait for a step".to_owned());
            }
        }
        if ui.check_interrupt().is_err()
            && !told
            && since.get_or_insert_with(Instant::now).elapsed() > patience
        {
            told = true;
            let _ = Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status();
        }
    }
}

/// The error for a step that failed: what its last lines on stderr say.
pub(crate) fn failure(step: &str, ended: &Ended, log: &Path) -> Error {
    let how = match ended.status.code() {
        Some(code) => format!("failed with exit code {code}"),
        None => format!("was killed{}", signal(ended.status)),
    };
    let (mut causes, mut hint) = (Vec::new(), None);
    for line in &ended.tail {
        if let Some(message) = line.strip_prefix("error: ") {
            causes = vec![message.to_owned()]; // the last error counts
        } else if let Some(cause) = line.strip_prefix("cause: ") {
            causes.push(cause.to_owned());
        } else if let Some(text) = line.strip_prefix("hint: ") {
            hint = Some(text.to_owned());
        }
    }
    if causes.is_empty() {
        let from = ended.tail.len().saturating_sub(5);
        causes.push(ended.tail[from..].join("\n"));
    }
    let mut causes = causes.into_iter().rev().filter(|cause| !cause.is_empty());
    let title = format!("step {step} {how} (its log: {})", log.display());
    let error = match causes.next() {
        Some(innermost) => causes
            .fold(Error::new(innermost), |error, cause| error.context(cause))
            .context(title),
        None => Error::new(title),
    };
    match hint {
        Some(hint) => error.hint(hint),
        None if ended.status.code().is_none() => {
            error.hint("a process that is killed from outside was often out of memory")
        }
        None => error.hint("when its cause is mended, the same command goes on from this step"),
    }
}

/// The reason that a tool gave with exit code 1.
pub(crate) fn answer(ended: &Ended) -> String {
    let line = ended
        .tail
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("no: "));
    line.or(ended.tail.last().map(String::as_str))
        .unwrap_or("the answer is no")
        .to_owned()
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
