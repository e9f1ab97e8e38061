//! Work on all cores whose results come back in the order of what was read: one thread reads, some work, and the caller
//! takes. Between them lie channels that hold so much and no more.
use lora_cli::{Context as _, Result, refused};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

/// Pieces of work that wait or are done and not taken yet, for each thread.
const AHEAD: usize = 4;

/// Between two looks at whether the work is still wanted.
const TICK: Duration = Duration::from_millis(100);

/// A piece of work, and where its result goes.
type Job<B, M> = (B, SyncSender<M>);

/// The two ends of what the reader fills.
pub(crate) struct Feed<B, M> {
    jobs: SyncSender<Job<B, M>>,
    in_order: SyncSender<Receiver<M>>,
}

impl<B, M> Feed<B, M> {
    /// Hands on a piece of work; false if nobody wants more.
    pub(crate) fn give(&self, piece: B) -> bool {
        let (done, result) = sync_channel(1);
        self.in_order.send(result).is_ok() && self.jobs.send((piece, done)).is_ok()
    }
}

/// Reads on one thread, works on `threads`, and takes what they make here, in the order in which it was read. `is_wanted` is
/// asked while nothing comes.
///
/// # Errors
/// The first that `take` or `is_wanted` has, after which nobody works on; or that no thread can be started.
pub(crate) fn run<B: Send, M: Send, R: Send>(
    threads: usize,
    read: impl FnOnce(Feed<B, M>) -> R + Send,
    work: impl Fn(B) -> M + Sync,
    is_wanted: impl Fn() -> Result<()>,
    take: impl FnMut(M) -> Result<()>,
) -> Result<R> {
    let (jobs, to_do) = sync_channel::<Job<B, M>>(threads);
    let (in_order, results) = sync_channel(AHEAD * threads);
    let to_do = Arc::new(Mutex::new(to_do));
    let is_over = AtomicBool::new(false);
    let (work, is_over) = (&work, &is_over);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..threads {
            let to_do = to_do.clone();
            let one = start(scope, "rows", move || {
                while let Ok((piece, done)) = next(&to_do) {
                    // What nobody wants any more is let go, so that the reader comes to its end.
                    if !is_over.load(Ordering::Relaxed) {
                        let _ = done.send(work(piece));
                    }
                }
            });
            match one {
                Err(error) if workers.is_empty() => return Err(error),
                Err(_) => break, // fewer will do
                Ok(one) => workers.push(one),
            }
        }
        drop(to_do); // once no worker is left, the reader hears of it
        let reader = start(scope, "reader", move || read(Feed { jobs, in_order }))?;
        let taken = take_all(results, is_wanted, take);
        is_over.store(taken.is_err(), Ordering::Relaxed);
        let read = joined(reader);
        workers.into_iter().for_each(joined);
        taken.map(|()| read)
    })
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let builder = Builder::new().name(name.to_owned());
    builder
        .spawn_scoped(scope, work)
        .map_err(refused)
        .context(|| format!("no thread for {name} could be started"))
}

/// What a thread returned; its panic becomes this thread's.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    let end = thread.join();
    end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn next<T>(jobs: &Mutex<Receiver<T>>) -> Result<T, std::sync::mpsc::RecvError> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv()
}

/// Takes the results one after the other; when that ends, whoever waits to hand on more hears of it.
fn take_all<M>(
    results: Receiver<Receiver<M>>,
    is_wanted: impl Fn() -> Result<()>,
    mut take: impl FnMut(M) -> Result<()>,
) -> Result<()> {
    while let Some(result) = receive(&results, &is_wanted)? {
        match receive(&result, &is_wanted)? {
            Some(made) => take(made)?,
            None => break, // its thread panicked, of which the scope hears
        }
    }
    Ok(())
}

fn receive<T>(from: &Receiver<T>, is_wanted: impl Fn() -> Result<()>) -> Result<Option<T>> {
    loop {
        is_wanted()?;
        match from.recv_timeout(TICK) {
            Ok(made) => return Ok(Some(made)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lora_cli::Error;
    use std::sync::atomic::AtomicUsize;

    /// Pieces that take unlike times come back as they were read, and after a failure reading ends.
    #[test]
    fn results_come_in_the_order_of_what_was_read() {
        for threads in [1, 2, 7] {
            let given = AtomicUsize::new(0);
            let run = |most: usize| {
                let mut taken = Vec::new();
                let end = run(
                    threads,
                    |feed| {
                        for piece in 0..1000 {
                            if !feed.give(piece) {
                                return piece;
                            }
                            given.fetch_max(piece, Ordering::Relaxed);
                        }
                        1000
                    },
                    |piece: usize| {
                        std::thread::sleep(Duration::from_micros((piece as u64 * 7919) % 50));
                        piece
                    },
                    || Ok(()),
                    |piece| {
                        taken.push(piece);
                        match piece < most {
                            true => Ok(()),
                            false => Err(Error::new("enough")),
                        }
                    },
                );
                (end, taken)
            };
            let (end, taken) = run(20);
            assert_eq!(end.unwrap_err().to_string(), "enough");
            assert_eq!(taken, (0..=20).collect::<Vec<_>>());
            let ahead = given.load(Ordering::Relaxed);
            assert!(ahead < 20 + (AHEAD + 2) * threads + 2, "{ahead} were read");
            let (end, taken) = run(1000);
            assert_eq!(end.unwrap(), 1000);
            assert_eq!(taken, (0..1000).collect::<Vec<_>>());
        }
    }
}
