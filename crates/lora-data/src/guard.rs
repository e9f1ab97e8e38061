//! Runs foreign templates where they can do no harm: on a thread with a deep stack, watched for time and memory. What
//! takes too much is given up; its thread is left behind, and lives as long as the process.
//!
//! A thread that is watched renders where it is, so that work of many renderings changes threads once; each of them is
//! measured by itself. What is counted is the time that the thread had a processor: how busy the machine is must not
//! decide what a row is.
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the stack. Values that hold one another are dropped, compared and printed by recursion: a template's fuel
/// makes some 150,000 levels, and each takes less than a KiB.
const STACK: usize = 512 << 20;

/// Between two looks at the work; most of it is done before the first.
const TICK: Duration = Duration::from_millis(10);

/// What a rendering may take of a processor; its fuel ends nearly everything before that.
const LONGEST: Duration = Duration::from_millis(900);

/// What it may take where the system doesn't tell of threads: on the clock of the wall, so that is long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Before so much of a processor, what the process grew by is not this rendering's.
const SHORT: Duration = Duration::from_millis(30);

/// Bytes by which the process may grow between the first look and the last, for each thread that renders.
const GROWTH: u64 = 256 << 20;

/// Threads that render, or were left behind.
static WORKERS: AtomicU64 = AtomicU64::new(0);

type Job = Box<dyn FnOnce() + Send>;

/// A thread that works for another.
struct Worker {
    jobs: Sender<Job>,
    /// What the system says of it (Linux).
    about: Option<PathBuf>,
    beat: Beat,
}

/// Renderings that a thread has begun and ended: odd while one is going on.
#[derive(Clone, Default)]
struct Beat(Arc<AtomicU64>);

/// A rendering as it was first seen.
struct Look {
    rendering: u64,
    at: Instant,
    worked: Option<Duration>,
    memory: u64,
}

thread_local! {
    /// The thread that works for this one.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
    /// What the watcher of this thread looks at; none where nobody watches.
    static WATCHED: RefCell<Option<Beat>> = const { RefCell::new(None) };
}

/// Renders under watch; the error says what it took too much of.
pub(crate) fn watched<T: Send + 'static>(
    rendering: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    match WATCHED.with_borrow(Clone::clone) {
        Some(beat) => beat.around(rendering),
        None => watch_over(move || watched(rendering))?,
    }
}

/// Does work on a thread where each of its renderings is watched, and waits for it. Whatever it should leave behind if one
/// takes too much has to be put where others find it.
///
/// # Errors
/// What one of its renderings took too much of.
///
/// # Panics
/// If the work does.
pub fn watch_over<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (done, answer) = sync_channel(1);
    send(Box::new(move || {
        // Nobody may wait any more.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    }))?;
    let mut first = None;
    loop {
        match answer.recv_timeout(TICK) {
            Ok(Ok(made)) => return Ok(made),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Disconnected) => return Err("it can't be written".to_owned()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let fault = WORKER.with_borrow(|worker| worker.as_ref()?.fault(&mut first));
        if let Some(fault) = fault {
            WORKER.set(None); // left to its work
            return Err(fault.to_owned());
        }
    }
}

impl Beat {
    /// Counts a rendering, on the thread that is watched.
    fn around<T>(&self, rendering: impl FnOnce() -> T) -> Result<T, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let made = catch_unwind(AssertUnwindSafe(rendering));
        self.0.fetch_add(1, Ordering::Relaxed);
        made.map_err(|_| "it can't be written".to_owned())
    }

    /// The rendering that is going on.
    fn rendering(&self) -> Option<u64> {
        let count = self.0.load(Ordering::Relaxed);
        (count % 2 == 1).then_some(count)
    }
}

impl Worker {
    /// What the rendering that is going on takes too much of; `first` is what was seen of it before.
    fn fault(&self, first: &mut Option<Look>) -> Option<&'static str> {
        let rendering = self.beat.rendering()?;
        let worked = self.worked();
        let seen = match first {
            Some(seen) if seen.rendering == rendering => seen,
            _ => first.insert(Look {
                rendering,
                at: Instant::now(),
                worked,
                memory: resident(),
            }),
        };
        let (took, longest) = match worked.zip(seen.worked) {
            Some((worked, started)) => (worked.saturating_sub(started), LONGEST),
            None => (seen.at.elapsed(), LONGEST_WAIT),
        };
        if took > longest {
            return Some("it takes more time than any chat needs");
        }
        // What other threads take meanwhile may be as much as that.
        let growth = GROWTH * WORKERS.load(Ordering::Relaxed);
        let is_large = took > SHORT && resident() > seen.memory + growth;
        is_large.then_some("it takes more memory than any chat needs")
    }

    /// How long it has had a processor; none where the system doesn't tell.
    fn worked(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(self.about.as_ref()?).ok()?;
        let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

/// Hands a job to this thread's worker, which is started where there is none.
fn send(job: Job) -> Result<(), String> {
    WORKER.with_borrow_mut(|worker| {
        let job = match worker {
            Some(worker) => match worker.jobs.send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => job,
        };
        let fresh = start();
        fresh.jobs.send(job).map_err(|error| error.to_string())?;
        *worker = Some(fresh);
        Ok(())
    })
}

fn start() -> Worker {
    let (sender, jobs) = channel::<Job>();
    let (itself, about) = sync_channel(1);
    let beat = Beat::default();
    let own = beat.clone();
    let work = move || {
        let task = std::fs::read_link("/proc/thread-self").ok();
        let task = task.map(|task| PathBuf::from("/proc").join(task).join("schedstat"));
        let _ = itself.send(task.filter(|path| path.is_file()));
        WATCHED.set(Some(own));
        WORKERS.fetch_add(1, Ordering::Relaxed);
        for job in jobs {
            job();
        }
        WORKERS.fetch_sub(1, Ordering::Relaxed);
    };
    thread(STACK, work);
    Worker {
        jobs: sender,
        about: about.recv().unwrap_or_default(),
        beat,
    }
}

/// Starts a thread for a template, on a stack of so many bytes.
///
/// # Panics
/// As [`std::thread::spawn`], and in its words, if the system gives none. To report that as an error of the template would
/// be wrong: callers read from such an error what the template does and does not say.
#[allow(clippy::panic)]
pub(crate) fn thread<T: Send + 'static>(
    stack: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let builder = std::thread::Builder::new().name("template".to_owned());
    let started = builder.stack_size(stack).spawn(work);
    started.unwrap_or_else(|error| panic!("failed to spawn thread: {error:?}"))
}

/// Bytes of the process in memory; 0 where the system doesn't tell.
fn resident() -> u64 {
    let pages = || {
        let text = std::fs::read_to_string("/proc/self/statm").ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pages().unwrap_or(0) * 4096
}
