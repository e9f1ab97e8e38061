//! Runs foreign templates where they can do no harm: on a thread with a deep stack, watched for time and memory. What
//! takes too much is given up; its thread is left behind, and lives as long as the process.
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

/// Bytes of the stack. Values that hold one another are dropped, compared and printed by recursion: a template's fuel
/// makes some 150,000 levels, and each takes less than a KiB.
const STACK: usize = 512 << 20;

/// Between two looks at the work; most of it is done before the first.
const TICK: Duration = Duration::from_millis(10);

/// Looks that the work may take. They are counted, so that a process that was stopped meanwhile loses no time.
const TICKS: usize = 60;

/// Bytes by which the process may grow between the first look and the last.
const GROWTH: u64 = 256 << 20;

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The thread that works for this one.
    static WORKER: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
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
    let mut before = None;
    for _ in 0..TICKS {
        match answer.recv_timeout(TICK) {
            Ok(made) => return Ok(made),
            Err(RecvTimeoutError::Disconnected) => return Err("it can't be written".to_owned()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = resident();
        if now > *before.get_or_insert(now) + GROWTH {
            return give_up("it takes more memory than any chat needs");
        }
    }
    give_up("it takes more time than any chat needs")
}

/// Hands a job to this thread's worker, which is started where there is none.
fn send(job: Job) -> Result<(), String> {
    WORKER.with_borrow_mut(|worker| {
        let job = match worker {
            Some(worker) => match worker.send(job) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => job,
        };
        let fresh = start()?;
        fresh.send(job).map_err(|error| error.to_string())?;
        *worker = Some(fresh);
        Ok(())
    })
}

fn start() -> Result<Sender<Job>, String> {
    let (sender, jobs) = channel::<Job>();
    let work = move || {
        for job in jobs {
            // Whoever waits hears of it by the end of his channel.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    };
    let builder = std::thread::Builder::new().name("template".to_owned());
    let started = builder.stack_size(STACK).spawn(work);
    started
        .map(|_| sender)
        .map_err(|error| format!("no thread for it can be started: {error}"))
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
