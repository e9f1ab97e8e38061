//! Jobs that are answered together.
use super::queue::{Job, Part, Queue};
use crate::answer::{Listener, Speaker, Turn};
use crate::growing::{Answer, End};
use std::sync::atomic::Ordering;

/// Whoever waits: each answer's job, and its number there.
struct Waiting<'j> {
    jobs: &'j [Job],
    places: Vec<(usize, usize)>,
    /// Answers that each job still waits for.
    left: Vec<usize>,
    queue: &'j Queue,
}

impl Waiting<'_> {
    fn send(&self, number: usize, part: impl FnOnce(usize) -> Part) {
        let (job, choice) = self.places[number];
        let _ = self.jobs[job].to.send(part(choice)); // it may have gone
    }
}

impl Listener for Waiting<'_> {
    fn text(&mut self, number: usize, new: &str) {
        self.send(number, |choice| Part::Text(choice, new.to_owned()));
    }

    fn end(&mut self, number: usize, answer: &Answer) {
        if answer.end == End::Stopped {
            return self.send(number, |_| Part::Failed("the server is stopping"));
        }
        let job = self.places[number].0;
        self.left[job] -= 1;
        // Counted before anyone hears of it: whoever has all that was asked for is gone, too.
        if self.left[job] == 0 {
            self.queue.answered.fetch_add(1, Ordering::Relaxed);
        }
        self.send(number, |choice| Part::End(choice, answer.clone()));
    }

    fn is_gone(&self, number: usize) -> bool {
        self.jobs[self.places[number].0].is_gone()
    }
}

/// Answers jobs of one voice and one way of choosing tokens.
pub(crate) fn answer(speaker: &mut Speaker<'_>, jobs: &[Job], queue: &Queue) {
    let places = jobs.iter().enumerate();
    let places = places.flat_map(|(job, it)| (0..it.turns.len()).map(move |choice| (job, choice)));
    let mut waiting = Waiting {
        places: places.collect(),
        left: jobs.iter().map(|job| job.turns.len()).collect(),
        jobs,
        queue,
    };
    let turns: Vec<Turn> = jobs.iter().flat_map(|job| job.turns.clone()).collect();
    queue.answering.store(turns.len(), Ordering::Relaxed);
    let sampling = jobs[0].sampling;
    let answered = speaker.continued(jobs[0].voice, sampling, &turns, &mut waiting);
    if let Err(error) = answered {
        speaker.ui.warn(&format!("an answer failed: {error}"));
        for job in jobs {
            let _ = job
                .to
                .send(Part::Failed("the answer could not be generated"));
        }
    }
    let is_cancelled = |(job, left): &(&Job, usize)| *left > 0 && job.is_gone();
    let cancelled = jobs.iter().zip(waiting.left).filter(is_cancelled).count();
    queue
        .cancelled
        .fetch_add(cancelled as u64, Ordering::Relaxed);
    queue.answering.store(0, Ordering::Relaxed);
}
