//! Runs foreign templates where they can do no harm: on a thread with a deep stack, watched for time and memory. What
//! takes too much is given up; its thread is left behind, and lives as long as the process.
//!
//! What is counted is the time that the thread had a processor: how busy the machine is must not decide what a row is.
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the stack. Values that hold one another are dropped, compared and printed by recursion: a template's fuel
/// makes some 150,000 levels, and each takes less than a KiB.
const STACK: usize = 512 << 20;

/// Between two looks at the work; most of it is done before the first.
const TICK: Duration = Duration::from_millis(10);

/// What the work may take of a processor; its fuel ends nearly everything before that.
const LONGEST: Duration = Duration::from_millis(900);

/// What it may take where the system doesn't tell of threads: on the clock of the wall, so that is long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Before so much of a processor, what the process grew by is not this work's.
const SHORT: Duration = Duration::from_millis(30);

/// Bytes by which the process may grow between the first look and the last.
const GROWTH: u64 = 256 << 20;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that works for another.
struct Worker {
    jobs: Sender<Job>,
    /// What the system says of it (Linux).
    about: Option<PathBuf>,
}

impl Worker {
    /// How long it has had a processor; none where the system doesn't tell.
    fn worked(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(self.about.as_ref()?).ok()?;
        let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

thread_local! {
    /// The thread that works for this one.
    static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Does some work on another thread; the error says what it took too much of.
pub(crate) fn watched<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (done, answer) = sync_channel(1);
    send(Box::new(move || {
        // Nobody may wait any more.
        let _ = done.send(work());
    }))?;
    let begun = Instant::now();
    let mut before = None;
    loop {
        match answer.recv_timeout(TICK) {
            Ok(made) => return Ok(made),
            Err(RecvTimeoutError::Disconnected) => return Err("it can't be written".to_owned()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let worked = WORKER.with_borrow(|worker| worker.as_ref().and_then(Worker::worked));
        let (started, memory) = *before.get_or_insert_with(|| (worked, resident()));
        let (took, longest) = match worked.zip(started) {
            Some((worked, started)) => (worked.saturating_sub(started), LONGEST),
            None => (begun.elapsed(), LONGEST_WAIT),
        };
        if took > longest {
            return give_up("it takes more time than any chat needs");
        }
        if took > SHORT && resident() > memory + GROWTH {
            return give_up("it takes more memory than any chat needs");
        }
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
    let work = move || {
        let task = std::fs::read_link("/proc/thread-self").ok();
        let task = task.map(|task| PathBuf::from("/proc").join(task).join("schedstat"));
        let _ = itself.send(task.filter(|path| path.is_file()));
        for job in jobs {
            // Whoever waits hears of it by the end of his channel.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    };
    thread(STACK, work);
    Worker {
        jobs: sender,
        about: about.recv().unwrap_or_default(),
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

/// Leaves the worker to its work.
fn give_up<T>(why: &str) -> Result<T, String> {
    WORKER.set(None);
    Err(why.to_owned())
}

/// Bytes of the process in memory; 0 where the system doesn't tell.
fn resident() -> u64 {
    let pages = || {
        let text = std::fs::read_to_string("/proc/self/statm").ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pages().unwrap_or(0) * 4096
}
