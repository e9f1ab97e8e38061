//! Requests that wait for their answers.
use crate::answer::Turn;
use crate::growing::Answer;
use lora_model::Sampling;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Answers that are generated together at most.
const MOST_TOGETHER: usize = 16;

/// Tokens of prompts and answers that are kept together at most, unless one request alone has more.
const MOST_TOKENS_TOGETHER: usize = 16 * 1024;

/// A request that can be answered.
pub(crate) struct Job {
    pub(crate) voice: usize,
    pub(crate) sampling: Sampling,
    /// One for each answer that is asked for.
    pub(crate) turns: Vec<Turn>,
    /// Where its answers go.
    pub(crate) to: UnboundedSender<Part>,
    /// Set once nobody waits for it any more.
    pub(crate) gone: Arc<AtomicBool>,
}

/// A piece of what a request gets; the number is the answer's.
#[derive(Debug)]
pub(crate) enum Part {
    /// More text.
    Text(usize, String),
    /// An answer is whole.
    End(usize, Answer),
    /// There will be none; the message says why.
    Failed(&'static str),
}

impl Job {
    /// True once nobody waits for it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Tokens that are kept for it, when answers of `most` tokens are made room for.
    fn tokens(&self, most: usize) -> usize {
        self.turns.iter().map(|turn| turn.ids.len() + most).sum()
    }

    fn most(&self) -> usize {
        self.turns.iter().map(|turn| turn.most).max().unwrap_or(0)
    }
}

/// The requests that wait, in the order of their coming.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrival: Condvar,
    most: usize,
    /// Answers that are being generated.
    pub(crate) answering: AtomicUsize,
    /// Requests that got their answers.
    pub(crate) answered: AtomicU64,
    /// Requests that nobody waited for any more.
    pub(crate) cancelled: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

/// Why a job can't wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    Full,
    Closed,
}

impl Queue {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrival: Condvar::new(),
            most,
            answering: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a job wait.
    pub(crate) fn push(&self, job: Job) -> Result<(), Shut> {
        let mut waiting = self.lock();
        self.forget_gone(&mut waiting);
        if waiting.is_closed {
            return Err(Shut::Closed);
        }
        if waiting.jobs.len() >= self.most {
            return Err(Shut::Full);
        }
        waiting.jobs.push_back(job);
        self.arrival.notify_one();
        Ok(())
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }

    fn forget_gone(&self, waiting: &mut Waiting) {
        let before = waiting.jobs.len();
        waiting.jobs.retain(|job| !job.is_gone());
        let gone = before - waiting.jobs.len();
        self.cancelled.fetch_add(gone as u64, Ordering::Relaxed);
    }

    /// The first that waits and those that can be answered with it; none if none has come within `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Vec<Job> {
        let waiting = self.lock();
        let is_empty = |waiting: &mut Waiting| waiting.jobs.is_empty();
        let waited = self.arrival.wait_timeout_while(waiting, patience, is_empty);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.forget_gone(&mut waiting);
        let Some(first) = waiting.jobs.pop_front() else {
            return Vec::new();
        };
        let mut together = vec![first];
        let mut rest = VecDeque::new();
        for job in waiting.jobs.drain(..) {
            match fits(&together, &job) {
                true => together.push(job),
                false => rest.push_back(job),
            }
        }
        waiting.jobs = rest;
        together
    }

    /// Lets nobody wait any longer.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        for job in waiting.jobs.drain(..) {
            let _ = job.to.send(Part::Failed("the server is stopping")); // it may have gone
        }
    }
}

/// True if a job is answered by the same model in the same way, and there is room for it.
fn fits(together: &[Job], job: &Job) -> bool {
    let first = &together[0];
    let is_alike = job.voice == first.voice && job.sampling == first.sampling;
    let all = || together.iter().chain([job]);
    let answers: usize = all().map(|job| job.turns.len()).sum();
    let most = all().map(Job::most).max().unwrap_or(0);
    let tokens: usize = all().map(|job| job.tokens(most)).sum();
    is_alike && answers <= MOST_TOGETHER && tokens <= MOST_TOKENS_TOGETHER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(voice: usize, temperature: f64, tokens: usize) -> Job {
        let (to, _) = tokio::sync::mpsc::unbounded_channel();
        let turn = Turn {
            ids: vec![0; tokens],
            most: 1,
            stop: Vec::new(),
            chance: Sampling::stream(0, ""),
        };
        Job {
            voice,
            sampling: Sampling {
                temperature,
                ..Sampling::GREEDY
            },
            turns: vec![turn],
            to,
            gone: Arc::default(),
        }
    }

    fn taken(queue: &Queue) -> Vec<(usize, usize)> {
        let jobs = queue.take(Duration::ZERO);
        let shape = |job: Job| (job.voice, job.turns[0].ids.len());
        jobs.into_iter().map(shape).collect()
    }

    #[test]
    fn what_is_alike_goes_together_and_the_first_goes_first() {
        let queue = Queue::new(64);
        for (voice, temperature, tokens) in [
            (1, 0.0, 1),
            (0, 0.0, 2),
            (1, 0.0, 3),
            (1, 1.0, 4),
            (0, 0.0, 5),
        ] {
            assert_eq!(queue.push(job(voice, temperature, tokens)), Ok(()));
        }
        assert_eq!(taken(&queue), [(1, 1), (1, 3)]);
        assert_eq!(taken(&queue), [(0, 2), (0, 5)]);
        assert_eq!(taken(&queue), [(1, 4)]);
        assert_eq!(taken(&queue), []);
    }

    #[test]
    fn room_is_limited() {
        let queue = Queue::new(20);
        for _ in 0..20 {
            assert_eq!(queue.push(job(0, 0.0, 1)), Ok(()));
        }
        assert_eq!(queue.push(job(0, 0.0, 1)), Err(Shut::Full));
        assert_eq!(taken(&queue).len(), MOST_TOGETHER);
        assert_eq!(taken(&queue).len(), 4);
        for tokens in [MOST_TOKENS_TOGETHER, 1, 2] {
            queue.push(job(0, 0.0, tokens)).unwrap();
        }
        assert_eq!(taken(&queue).len(), 1);
        assert_eq!(taken(&queue), [(0, 1), (0, 2)]);
    }

    #[test]
    fn nobody_waits_for_what_is_gone_and_a_closed_queue_takes_none() {
        let queue = Queue::new(1);
        let gone = job(0, 0.0, 1);
        gone.gone.store(true, Ordering::Relaxed);
        queue.push(gone).unwrap();
        queue.push(job(0, 0.0, 2)).unwrap();
        assert_eq!(taken(&queue), [(0, 2)]);
        assert_eq!(queue.cancelled.load(Ordering::Relaxed), 1);
        queue.close();
        assert_eq!(queue.push(job(0, 0.0, 1)), Err(Shut::Closed));
    }
}
