//! Failures as people see them: `error:` what, `cause:` the chain below it, and one `hint:`.
use std::fmt::Write as _;
use std::io;

/// A failure on its way to the user: a message, its chain of causes and at most one hint. Exit 2.
/// A library error's Display may end in `\nhint: …`; that line is shown as the hint.
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
        let (message, hint) = split_hint(message.into());
        Self {
            message,
            causes: Vec::new(),
            hint,
            interrupted: false,
        }
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
        let (message, hint) = split_hint(message.into());
        self.causes
            .insert(0, std::mem::replace(&mut self.message, message));
        self.hint = hint.or(self.hint);
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

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut result = Self::new("");
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut above = String::new();
        while let Some(error) = next {
            let (text, hint) = split_hint(error.to_string());
            let io = error.downcast_ref::<io::Error>();
            let hint = hint.or_else(|| io.and_then(io_hint).map(str::to_owned));
            result.hint = result.hint.take().or(hint);
            let text = without_os_code(&text);
            if !above.contains(text) {
                result.causes.push(text.to_owned());
                above = text.to_owned();
            }
            next = error.source();
        }
        if !result.causes.is_empty() {
            result.message = result.causes.remove(0);
        }
        result
    }
}

/// Says what was being done when a result turns out to be a failure.
pub trait Context<T> {
    /// Adds `message` above the failure, whose own message becomes the first `cause:`.
    ///
    /// # Errors
    /// The failure, with that context.
    fn context(self, message: impl FnOnce() -> String) -> crate::Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> crate::Result<T> {
        self.map_err(|error| error.into().context(message()))
    }
}

/// Takes a trailing `\nhint: …` off a message.
fn split_hint(text: String) -> (String, Option<String>) {
    match text.split_once("\nhint: ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.trim_end().to_owned())),
        None => (text, None),
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
        io::ErrorKind::InvalidData => Some("is this the right file? it is not text in UTF-8"),
        _ => None,
    }
}
