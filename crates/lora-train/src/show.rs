//! Follows a run: progress and words for people, a line of metrics.jsonl for every step and evaluation.
use crate::metrics::{Metrics, of_evaluation, of_step};
use lora_cli::{Error, Progress, Ui};
use lora_receipt::Staged;
use lora_records::Metric;
use lora_training::{Evaluated, Event, Observer, Started, StepDone};

/// Who follows the run.
pub(crate) struct Show<'s> {
    ui: &'s Ui,
    staged: &'s mut Staged,
    metrics: Metrics,
    steps: Option<Progress>,
    /// Bar of the evaluation that is going on, and how far it is.
    rows: Option<(Progress, usize)>,
    /// Why the run can't go on, though nothing is wrong with the training.
    failure: Option<Error>,
}

impl<'s> Show<'s> {
    pub(crate) fn new(ui: &'s Ui, staged: &'s mut Staged, metrics: Metrics) -> Self {
        Self {
            ui,
            staged,
            metrics,
            steps: None,
            rows: None,
            failure: None,
        }
    }

    /// Why the observer asked to stop, if it was not the user.
    pub(crate) fn into_failure(self) -> Option<Error> {
        self.failure
    }

    fn started(&mut self, started: &Started) {
        let rows = |n: usize| match n {
            1 => "1 example".to_owned(),
            n => format!("{n} examples"),
        };
        let valid = match started.valid_rows {
            None => "no valid split".to_owned(),
            Some(n) => format!("{} held out", rows(n)),
        };
        if started.done_steps > 0 {
            let done = started.done_steps;
            self.ui.say(&format!("continuing after step {done}"));
        }
        let (total, train) = (started.total_steps, rows(started.train_rows));
        self.ui.say(&format!("{total} steps on {train}, {valid}"));
        let progress = self.ui.progress("train", total, "step");
        progress.already(started.done_steps);
        self.steps = Some(progress);
    }

    fn step_done(&mut self, step: &StepDone) {
        if let Some(progress) = &self.steps {
            let (loss, rate) = (step.loss, step.tokens_per_s);
            progress.message(format!("loss {loss:.4}  {rate:.0} tokens/s"));
            progress.inc(1);
        }
        self.record(&of_step(step));
    }

    fn evaluating(&mut self, done: usize, rows: usize) {
        let (progress, before) = self
            .rows
            .get_or_insert_with(|| (self.ui.progress("valid", rows as u64, "example"), 0));
        progress.inc((done - *before) as u64);
        *before = done;
    }

    fn evaluated(&mut self, found: &Evaluated) {
        self.rows = None;
        let (step, loss) = (found.step, found.valid_loss);
        let best = if found.best { ", the best so far" } else { "" };
        self.ui
            .say(&format!("step {step}: valid loss {loss:.4}{best}"));
        self.record(&of_evaluation(found));
    }

    fn record(&mut self, metric: &Metric) {
        self.ui.event(metric);
        if let Err(error) = self.metrics.write(metric) {
            self.failure.get_or_insert(error);
        }
    }
}

impl Observer for Show<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Started(started) => self.started(started),
            Event::Warning(warning) => self.ui.warn(&warning.to_string()),
            Event::StepDone(step) => self.step_done(step),
            Event::Evaluating { done, rows } => self.evaluating(*done, *rows),
            Event::Evaluated(found) => self.evaluated(found),
            Event::StoppedEarly { evaluations } => self.ui.say(&format!(
                "no better loss in {evaluations} evaluations: stopping early"
            )),
            Event::CheckpointWritten { .. } => self.staged.keep_partial(),
            _ => {}
        }
    }

    fn keep(&self) -> Vec<u8> {
        self.metrics.lines().to_vec()
    }

    fn stop(&self) -> bool {
        self.failure.is_some() || self.ui.check_interrupt().is_err()
    }
}
