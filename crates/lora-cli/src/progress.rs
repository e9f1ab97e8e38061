//! How far the work is: a bar on a terminal, a plain line now and then elsewhere.
use crate::Ui;
use crate::table::human_seconds;
use crate::ui::Shows;
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use lora_records::Progress as Event;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least time between two plain lines.
const PLAIN_PERIOD: Duration = Duration::from_secs(5);

/// Least time between two events.
const EVENT_PERIOD: Duration = Duration::from_millis(200);

/// A running progress display; finishes when dropped.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Box<Lines>),
    Events(Box<Events>),
}

impl Ui {
    /// Starts a progress bar over `total` units (0: not known) on a terminal, sparse plain lines otherwise, nothing with
    /// --quiet. Shows the rate in `unit`/s and the time left.
    pub fn progress(&self, label: &str, total: u64, unit: &str) -> Progress {
        match self.shows_progress() {
            Shows::Nothing => Progress::nothing(),
            Shows::Events => Progress::events(self, label, total, unit),
            Shows::Bars(group) => Progress::bar(group, label, total, unit),
            Shows::Lines => Progress::lines(self, label, total, unit),
        }
    }
}

impl Progress {
    fn nothing() -> Self {
        Self {
            shown: Shown::Nothing,
        }
    }

    /// A bar on the terminal; without a known total, a count.
    fn bar(group: &MultiProgress, label: &str, total: u64, unit: &str) -> Self {
        let template = if total == 0 {
            "{prefix} {pos} {rate}  {wide_msg}"
        } else {
            "{prefix} [{bar:16}] {pos}/{len} {rate}  {left} left  {wide_msg}"
        };
        let unit = unit.to_owned();
        let rate = move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = write!(text, "{} {unit}/s", three_digits(state.per_sec()));
        };
        let left = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let _ = match state.pos() {
                0 => text.write_str("?"),
                _ => text.write_str(&human_seconds(state.eta().as_secs_f64())),
            };
        };
        let bar = group.add(if total == 0 {
            ProgressBar::no_length()
        } else {
            ProgressBar::new(total)
        });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(
                style
                    .progress_chars("=> ")
                    .with_key("rate", rate)
                    .with_key("left", left),
            );
        }
        bar.set_prefix(label.to_owned());
        bar.tick();
        Self {
            shown: Shown::Bar(bar),
        }
    }

    /// Plain lines through `ui`, at most one in five seconds.
    fn lines(ui: &Ui, label: &str, total: u64, unit: &str) -> Self {
        let now = Instant::now();
        let state = Mutex::new(State {
            before: 0,
            done: 0,
            message: String::new(),
            printed: now,
            any: false,
        });
        let lines = Lines {
            ui: ui.clone(),
            label: label.to_owned(),
            total,
            unit: unit.to_owned(),
            started: now,
            state,
        };
        Self {
            shown: Shown::Lines(Box::new(lines)),
        }
    }

    /// Events on stdout, at most five a second.
    fn events(ui: &Ui, label: &str, total: u64, unit: &str) -> Self {
        let event = Event {
            label: label.to_owned(),
            done: 0,
            before: 0,
            total,
            unit: unit.to_owned(),
            message: String::new(),
            ended: false,
        };
        let state = Mutex::new((event, None));
        Self {
            shown: Shown::Events(Box::new(Events {
                ui: ui.clone(),
                state,
            })),
        }
    }

    /// `n` more units are done.
    pub fn inc(&self, n: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.inc(n),
            Shown::Lines(lines) => lines.inc(n),
            Shown::Events(events) => events.change(|event| event.done += n),
        }
    }

    /// `n` units were done before this run began (a run that is resumed): they don't count into the rate.
    pub fn already(&self, n: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(n);
                bar.reset_eta();
            }
            Shown::Lines(lines) => lines.state().before = n,
            Shown::Events(events) => events.change(|event| {
                event.before = n;
                event.done = n;
            }),
        }
    }

    /// A short text behind the bar, e.g. `loss 1.234  812 tok/s`.
    pub fn message(&self, text: String) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(text),
            Shown::Lines(lines) => lines.state().message = text,
            Shown::Events(events) => events.change(|event| event.message = text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines(lines) => lines.finish(),
            Shown::Events(events) => events.finish(),
        }
    }
}

/// Progress for another program.
#[derive(Debug)]
struct Events {
    ui: Ui,
    /// What was done, and when that was last said.
    state: Mutex<(Event, Option<Instant>)>,
}

impl Events {
    fn change(&self, change: impl FnOnce(&mut Event)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.0);
        if state.1.is_none_or(|said| said.elapsed() >= EVENT_PERIOD) {
            state.1 = Some(Instant::now());
            self.ui
                .event(&lora_records::Event::Progress(state.0.clone()));
        }
    }

    fn finish(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.ended = true;
        self.ui
            .event(&lora_records::Event::Progress(state.0.clone()));
    }
}

/// Progress for a log file.
#[derive(Debug)]
struct Lines {
    ui: Ui,
    label: String,
    total: u64,
    unit: String,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Units that were done before this run began.
    before: u64,
    done: u64,
    message: String,
    printed: Instant,
    /// A line was printed, so the last one should be too.
    any: bool,
}

impl Lines {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inc(&self, n: u64) {
        let mut state = self.state();
        state.done += n;
        if state.printed.elapsed() >= PLAIN_PERIOD {
            state.printed = Instant::now();
            state.any = true;
            self.ui.say(&self.line(&state));
        }
    }

    fn finish(&self) {
        let state = self.state();
        if state.any {
            self.ui.say(&self.line(&state));
        }
    }

    fn line(&self, state: &State) -> String {
        let steps = [state.before, state.done, self.total];
        plain_line(
            &self.label,
            steps,
            &self.unit,
            self.started.elapsed(),
            &state.message,
        )
    }
}

/// `train 40/100  1.33 step/s  45 s left  loss 1.2`
fn plain_line(
    label: &str,
    [before, now, total]: [u64; 3],
    unit: &str,
    elapsed: Duration,
    message: &str,
) -> String {
    let rate = now as f64 / elapsed.as_secs_f64().max(1e-9);
    let done = before + now;
    let mut line = format!("{label} {done}");
    if total > 0 {
        line += &format!("/{total}");
    }
    line += &format!("  {} {unit}/s", three_digits(rate));
    if total > done && now > 0 {
        line += &format!("  {} left", human_seconds((total - done) as f64 / rate));
    }
    if !message.is_empty() {
        line += &format!("  {message}");
    }
    line
}

/// A rate with about three digits.
fn three_digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::plain_line;
    use std::time::Duration;

    #[test]
    fn a_plain_line_says_rate_and_time_left() {
        let line = |done, total| {
            plain_line(
                "train",
                [0, done, total],
                "step",
                Duration::from_secs(30),
                "loss 1.2",
            )
        };
        assert_eq!(
            line(40, 100),
            "train 40/100  1.33 step/s  45 s left  loss 1.2"
        );
        assert_eq!(line(100, 100), "train 100/100  3.33 step/s  loss 1.2");
        let resumed = plain_line("train", [40, 15, 100], "step", Duration::from_secs(30), "");
        assert_eq!(resumed, "train 55/100  0.50 step/s  1 min 30 s left");
        assert_eq!(line(0, 100), "train 0/100  0.00 step/s  loss 1.2");
        assert_eq!(line(6000, 0), "train 6000  200 step/s  loss 1.2");
    }
}
