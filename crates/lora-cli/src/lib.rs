//! The only crate that talks to people and machines: arguments, progress, JSON lines, errors and exit codes.
//!
//! A tool's `main.rs` is one call of [`main`]; its work is a function from its arguments and a [`Ui`] to a [`Status`].
mod allocation;
mod cache;
mod check;
mod describe;
mod device;
mod entry;
mod environment;
mod error;
mod failure;
pub mod html;
mod hub;
mod input;
mod last_words;
mod layout;
mod machine;
mod other_base;
mod overlap;
mod panics;
mod peers;
mod progress;
mod sampling;
mod signals;
mod table;
mod threads;
mod ui;
pub mod values;

pub use describe::describe;
pub use device::DeviceChoice;
pub use entry::main;
pub use environment::environment;
pub use error::{Context, Error, Foreign};
pub use hub::{hub_rows, hub_shape, is_hub, pin_hub, pinned_in_cache};
pub use input::{ChangedInput, artefact_from, artefact_input};
pub use layout::Layout;
pub use machine::{available_memory, memory_limit};
pub use other_base::OtherBase;
pub use progress::Progress;
pub use sampling::SamplingArgs;
pub use table::{human_bytes, human_seconds, markdown, table, table_within, wrapped};
pub use threads::{MORE_THREADS, refused, thread};
pub use ui::Ui;

/// Result of a tool's work.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
