//! Failures as people see them: `error:` what, `cause:` the chain below it, and one `hint:`.
use miette::Diagnostic;
use std::fmt::Write as _;
use std::io;

/// Result of a tool's work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure on its way to the user: a message, its chain of causes and at most one hint. Exit 2.
/// A library's error becomes one through miette's `Diagnostic`, whose help is the hint; any other by [`Error::foreign`].
#[derive(Debug)]
pub struct Error {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    interrupted: bool,
}

impl Error {
    /// A failure of the tool's own.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            interrupted: false,
        }
    }

    /// An error of the system's or of somebody else's library: its chain of causes, and a hint if the system's answer
    /// has one.
    pub fn foreign(error: impl std::error::Error + 'static) -> Self {
        let mut chain = Chain::default();
        chain.sources(Some(&error));
        chain.finish()
    }

    /// The way out, shown as one `hint:` line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What was being done; the former message becomes the first `cause:`.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.causes
            .insert(0, std::mem::replace(&mut self.message, message.into()));
        self
    }

    /// The user pressed Ctrl-C: exit 130.
    pub fn interrupted() -> Self {
        Self {
            interrupted: true,
            ..Self::new("interrupted")
        }
    }

    /// True if it names a way out.
    pub fn has_hint(&self) -> bool {
        self.hint.is_some()
    }

    /// True if this is how Ctrl-C ends the work, not a failure.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// The same as an event has it.
    pub fn failure(&self, exit_code: u8) -> lora_records::Failure {
        lora_records::Failure {
            message: self.message.clone(),
            causes: self.causes.clone(),
            hint: self.hint.clone(),
            exit_code,
        }
    }

    /// The `error:`, `cause:` and `hint:` lines, each ended by a newline; `paint` colours a label.
    pub fn render(&self, paint: impl Fn(&str) -> String) -> String {
        let mut text = String::new();
        let mut line = |label: &str, body: &str| {
            let body = body
                .trim_end()
                .replace('\n', &format!("\n{:1$}", "", label.len() + 2));
            let _ = writeln!(text, "{} {body}", paint(&format!("{label}:")));
        };
        line("error", &self.message);
        self.causes.iter().for_each(|cause| line("cause", cause));
        if let Some(hint) = &self.hint {
            line("hint", hint);
        }
        text
    }
}

impl std::fmt::Display for Error {
    /// The message and its causes on one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.causes
            .iter()
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl<E: Diagnostic + Send + Sync + 'static> From<E> for Error {
    /// A library's error: its chain of causes, and the hint of the outermost that has one.
    fn from(error: E) -> Self {
        let mut chain = Chain::default();
        let mut next: Option<&dyn Diagnostic> = Some(&error);
        while let Some(diagnostic) = next {
            chain.hint(diagnostic.help().map(|help| help.to_string()));
            chain.cause(&diagnostic.to_string());
            next = diagnostic.diagnostic_source();
            if next.is_none() {
                chain.sources(diagnostic.source());
            }
        }
        chain.finish()
    }
}

/// An error's chain on its way to an [`Error`].
#[derive(Default)]
struct Chain {
    causes: Vec<String>,
    hint: Option<String>,
}

impl Chain {
    /// A cause, unless the one above says it already.
    fn cause(&mut self, text: &str) {
        let text = without_os_code(text);
        let above = self.causes.last().map_or("", String::as_str);
        if !above.contains(text) {
            self.causes.push(text.to_owned());
        }
    }

    /// A hint, unless there is one already.
    fn hint(&mut self, hint: Option<String>) {
        self.hint = self.hint.take().or(hint);
    }

    /// The causes from `next` on that are not of our libraries: the system's, a format reader's.
    fn sources(&mut self, mut next: Option<&(dyn std::error::Error + 'static)>) {
        while let Some(error) = next {
            let io = error.downcast_ref::<io::Error>();
            self.hint(io.and_then(io_hint).map(str::to_owned));
            self.cause(&error.to_string());
            next = error.source();
        }
    }

    fn finish(mut self) -> Error {
        let message = if self.causes.is_empty() {
            String::new()
        } else {
            self.causes.remove(0)
        };
        Error {
            causes: self.causes,
            hint: self.hint,
            ..Error::new(message)
        }
    }
}

/// Brings a result of the system's or of somebody else's library among ours.
pub trait Foreign<T> {
    /// See [`Error::foreign`].
    ///
    /// # Errors
    /// The failure, as people see it.
    fn foreign(self) -> Result<T>;
}

impl<T, E: std::error::Error + 'static> Foreign<T> for std::result::Result<T, E> {
    fn foreign(self) -> Result<T> {
        self.map_err(Error::foreign)
    }
}

/// Says what was being done when a result turns out to be a failure.
pub trait Context<T> {
    /// Adds `message` above the failure, whose own message becomes the first `cause:`.
    ///
    /// # Errors
    /// The failure, with that context.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().context(message()))
    }
}

/// The system's answer without its number, which helps nobody.
fn without_os_code(text: &str) -> &str {
    text.split_once(" (os error ")
        .map_or(text, |(before, _)| before)
}

fn io_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("the disk is full: free some space, or write elsewhere")
        }
        io::ErrorKind::FileTooLarge => Some(
            "files of that size may not be written here: allow larger ones (ulimit -f), or write to another disk",
        ),
        io::ErrorKind::PermissionDenied => Some("check the permissions of that path"),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("that file system can't be written: choose another path")
        }
        io::ErrorKind::NotFound => {
            Some("check the path: it, or the folder that it should stand in, is not there")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Some("a file stands where a folder is needed: choose another path")
        }
        io::ErrorKind::IsADirectory => {
            Some("a folder stands where a file is needed: name a file in it")
        }
        io::ErrorKind::OutOfMemory => Some(
            "give the process more memory (ulimit -v), or ask for less: a smaller file, a quantised base",
        ),
        io::ErrorKind::InvalidData => Some("is this the right file? it is not text in UTF-8"),
        _ => None,
    }
}
