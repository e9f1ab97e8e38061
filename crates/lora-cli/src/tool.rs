//! What a tool is: its arguments, the flags that all have in common, and what it ends with.
use crate::Result;

/// What a tool ends with when nothing went wrong.
#[derive(Debug)]
pub enum Status {
    /// Exit 0.
    Done,
    /// Exit 1: the honest answer is no (a gate that did not pass); the reason, one line.
    No(String),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Print {
    /// Text and tables for people, in a pipe too.
    Text,
    /// JSON lines.
    Json,
    /// Text whose tables are Markdown.
    Md,
}

/// Flags that every tool has; flatten with `#[command(flatten)] #[serde(skip)]`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// Print JSON lines on stdout (the default whenever stdout is not a terminal).
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// How results are printed on stdout [default: as text on a terminal, as JSON lines elsewhere].
    #[arg(
        long,
        global = true,
        value_name = "AS",
        value_enum,
        conflicts_with = "json",
        help_heading = "Output"
    )]
    pub print: Option<Print>,
    /// Print nothing on stderr but errors.
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Print progress as JSON lines among the others, in place of what people see of it.
    #[arg(long, global = true, hide = true)]
    pub progress_events: bool,
}

/// A tool's argument struct: clap parser that gives access to its common flags.
pub trait ToolArgs: clap::Parser {
    /// Flags that name what is written.
    const OUTPUTS: &'static [&'static str] = &["out"];
    /// Flags that change speed or memory, or what is printed, and nothing that is written.
    const WITHOUT_EFFECT: &'static [&'static str] = &["threads"];

    /// The flattened [`Common`] flags.
    fn common(&self) -> &Common;

    /// Checks what the flags say together, without opening anything.
    ///
    /// # Errors
    /// When they contradict each other.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
