//! How a tool talks while it works: data on stdout, words for people on stderr.
use crate::signals;
use crate::table::{human_bytes, human_seconds, wrapped};
use crate::{Common, Error, Layout, Print, Result};
use indicatif::MultiProgress;
use lora_records::{Event, Warning};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Columns where nothing says how wide the terminal is.
const WIDTH: usize = 100;

/// How a tool talks while it works.
#[derive(Debug, Clone)]
pub struct Ui {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mode: Mode,
    /// When the work began.
    started: Instant,
    quiet: bool,
    /// Progress bars may be drawn on stderr.
    bars: bool,
    /// Progress goes to stdout, as events.
    progress_events: bool,
    group: MultiProgress,
    /// The first failure to write stdout that was not just a closed pipe.
    stdout_error: Mutex<Option<io::Error>>,
}

/// How progress is shown.
pub(crate) enum Shows<'u> {
    Nothing,
    /// On stdout.
    Events,
    Bars(&'u MultiProgress),
    /// Sparse plain lines.
    Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Json,
    People,
    /// As for people, with Markdown tables.
    Markdown,
}

impl Inner {
    /// Without bars, and quiet.
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            started: Instant::now(),
            quiet: true,
            bars: false,
            progress_events: false,
            group: MultiProgress::new(),
            stdout_error: Mutex::new(None),
        }
    }
}

impl Ui {
    /// A silent one, for tests and for calling one tool from another.
    pub fn silent() -> Self {
        Self::with(Inner::new(Mode::Silent))
    }

    /// The one that [`crate::main`] makes: JSON if asked for, or if stdout is not a terminal.
    pub(crate) fn for_terminal(common: &Common) -> Self {
        let mode = match common.print {
            Some(Print::Text) => Mode::People,
            Some(Print::Md) => Mode::Markdown,
            None if !common.json && io::stdout().is_terminal() => Mode::People,
            None | Some(Print::Json) => Mode::Json,
        };
        Self::with(Inner {
            quiet: common.quiet,
            bars: io::stderr().is_terminal(),
            progress_events: mode == Mode::Json && common.progress_events,
            ..Inner::new(mode)
        })
    }

    fn with(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same one for a tool whose stdout is an answer of its own form: no events are printed between.
    #[must_use]
    pub fn without_events(&self) -> Self {
        Self::with(Inner {
            quiet: self.inner.quiet,
            bars: self.inner.bars,
            started: self.inner.started,
            ..Inner::new(Mode::People)
        })
    }

    /// When the work began.
    pub(crate) fn started(&self) -> Instant {
        self.inner.started
    }

    /// True if stdout gets JSON lines, false if it gets tables for people.
    pub fn json(&self) -> bool {
        self.inner.mode == Mode::Json
    }

    /// True if stderr shows nothing but errors.
    pub fn quiet(&self) -> bool {
        self.inner.quiet
    }

    /// One event as one JSON line on stdout (only in JSON mode). A closed pipe is not an error.
    pub fn event<T: serde::Serialize>(&self, event: &T) {
        if self.json() {
            match serde_json::to_string(event) {
                Ok(line) => self.stdout(&line),
                Err(e) => self.keep_error(e.into()),
            }
        }
    }

    /// One line of results for people on stdout (only outside JSON mode).
    pub fn out(&self, line: &str) {
        if matches!(self.inner.mode, Mode::People | Mode::Markdown) {
            self.stdout(line.trim_end_matches('\n'));
        }
    }

    /// True if stdout is a terminal that shows colours, and nobody has said otherwise (`NO_COLOR`, `CLICOLOR_FORCE`).
    pub fn has_colours(&self) -> bool {
        let choice = anstream::AutoStream::choice(&io::stdout());
        !self.json() && choice != anstream::ColorChoice::Never
    }

    /// Columns that tables, charts and paragraphs keep to: the terminal's; `COLUMNS` in the environment says otherwise.
    pub fn width(&self) -> usize {
        let asked = std::env::var("COLUMNS").ok().and_then(|n| n.parse().ok());
        let own = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into());
        asked.or(own).unwrap_or(WIDTH)
    }

    /// Text on stdout at once, as it is, in every mode but the silent one: what a model says, token by token.
    pub fn text(&self, text: &str) {
        if self.inner.mode != Mode::Silent {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(text.as_bytes());
            if let Err(error) = written.and_then(|()| stdout.flush()) {
                self.keep_error(error);
            }
        }
    }

    /// Rows as a table that keeps to the terminal's width, or as one of Markdown, on stdout (only outside JSON mode).
    pub fn table<S: AsRef<str>>(&self, rows: &[Vec<S>]) {
        let lines = self.layout().table(rows);
        lines.iter().for_each(|line| self.out(line));
    }

    /// How text for people is laid out.
    pub fn layout(&self) -> Layout {
        match self.inner.mode {
            Mode::Markdown => Layout::markdown(self.width()),
            _ => Layout::within(self.width()),
        }
    }

    /// A sentence or two on stdout (only outside JSON mode), wrapped to the terminal's width and indented.
    pub fn paragraph(&self, indent: usize, text: &str) {
        if self.layout().is_markdown() {
            let lines = self.layout().paragraph(text);
            return lines.iter().for_each(|line| self.out(line));
        }
        for line in wrapped(text, self.width().saturating_sub(indent)) {
            self.out(&format!("{:indent$}{line}", ""));
        }
    }

    /// One line about the work, for people, on stderr (not with --quiet). Safe beside a progress bar.
    pub fn say(&self, line: &str) {
        if !self.inner.quiet {
            self.stderr(&format!("{}\n", line.trim_end_matches('\n')));
        }
    }

    /// One `warning:` line on stderr, and an event.
    pub fn warn(&self, line: &str) {
        self.say(&format!("\u{1b}[1;33mwarning:\u{1b}[0m {line}"));
        let message = line.trim_end().to_owned();
        self.event(&Event::Warning(Warning { message }));
    }

    /// How it shows how far the work is.
    pub(crate) fn shows_progress(&self) -> Shows<'_> {
        if self.inner.progress_events {
            Shows::Events
        } else if self.inner.quiet {
            Shows::Nothing
        } else if self.inner.bars {
            Shows::Bars(&self.inner.group)
        } else {
            Shows::Lines
        }
    }

    /// Fails with [`Error::interrupted`] once Ctrl-C was pressed, or another signal asked to stop; call it between units of
    /// work. Work that does not come to an end within a second is ended, and its output is what it was before.
    ///
    /// # Errors
    /// Only that one.
    pub fn check_interrupt(&self) -> Result<()> {
        match signals::received() {
            Some(_) => Err(Error::interrupted()),
            None => Ok(()),
        }
    }

    /// The signal that asked to stop, if one has.
    pub fn interrupted_by(&self) -> Option<i32> {
        signals::received()
    }

    /// Ctrl-C ends what is being done, not the tool: the tool says with [`Ui::forgive_interrupt`] when it goes on. A second
    /// one before that ends it.
    pub fn stays_after_ctrl_c(&self) {
        signals::stay();
    }

    /// The tool goes on: the next Ctrl-C is a first one again.
    pub fn forgive_interrupt(&self) {
        signals::forgive();
    }

    /// From here on the work is not ended a second after it was asked to stop: it has a checkpoint to write, or others to
    /// wait for.
    pub fn ends_in_its_own_time(&self) {
        signals::take_time();
    }

    /// Prints the receipt as the last JSON line of stdout (JSON mode), or the output path for people.
    pub fn receipt(&self, receipt: &lora_receipt::Receipt) {
        self.kept_aside(receipt);
        self.event(receipt);
        let bytes = receipt.outputs.iter().map(|output| output.bytes).sum();
        let files = receipt.outputs.len();
        self.out(&format!(
            "wrote {} ({files} {}, {}) in {}, peak memory {}",
            receipt.out.display(),
            if files == 1 { "file" } else { "files" },
            human_bytes(bytes),
            human_seconds(receipt.wall_seconds),
            human_bytes(receipt.peak_rss_bytes),
        ));
    }

    /// Says where files went that somebody else had put into the output that was replaced.
    pub fn kept_aside(&self, receipt: &lora_receipt::Receipt) {
        if let Some(folder) = &receipt.kept_aside {
            self.warn(&format!(
                "{} held files that no lora tool wrote: they lie in {} now",
                receipt.out.display(),
                folder.display()
            ));
        }
    }

    /// Text on stderr, whatever --quiet says; above a progress bar if one is drawn.
    pub(crate) fn stderr(&self, text: &str) {
        if self.inner.mode != Mode::Silent {
            self.inner.group.suspend(|| {
                let _ = anstream::stderr().lock().write_all(text.as_bytes()); // nowhere left to complain
            });
        }
    }

    /// One line on stdout, at once. After a closed pipe the work goes on: its output folder is still wanted.
    fn stdout(&self, line: &str) {
        let mut stdout = io::stdout().lock();
        let written = self
            .inner
            .group
            .suspend(|| writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
        if let Err(e) = written {
            self.keep_error(e);
        }
    }

    fn keep_error(&self, error: io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            let mut first = self
                .inner
                .stdout_error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        }
    }

    /// Fails if something could not be written to stdout (a full disk, say).
    pub(crate) fn check_stdout(&self) -> Result<()> {
        let error = self
            .inner
            .stdout_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        error.map_or(Ok(()), |e| {
            Err(Error::foreign(e).context("failed to write to stdout"))
        })
    }
}
