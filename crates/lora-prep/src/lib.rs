//! lora-prep: raw records in, a dataset out.
//!
//! Reading order: [`Args`] is the command line; `prepare` is the way from files to a folder: `pipeline` runs it on all
//! cores, `read` finds the rows, `row` is what a worker makes of one, `way` what becomes of it among the others, `stored`
//! where it waits, `divide` and `write` put it into its split (`prepared`); `mixture` draws from several sources. `model` opens the
//! tokenizer; `common` finds what goes on with all rows (system text, arguments of the template); `report` prints what was made; `show` prints rows of a finished
//! dataset, `page` writes them as HTML, `stats` counts it.
mod args;
mod arguments;
mod common;
mod divide;
mod idle;
mod keep;
mod mixture;
mod model;
mod output;
mod page;
mod pipeline;
mod prepare;
mod prepared;
mod read;
mod refused;
mod report;
mod row;
mod rows;
mod show;
mod source;
mod stats;
mod stored;
mod tally;
mod text;
mod way;
mod write;

pub use args::Args;

use args::Command;
use lora_cli::{Result, Status, Ui};

/// Prepares a dataset, or shows one.
pub fn run(args: Args, ui: &Ui) -> Result<Status> {
    match &args.command {
        Some(Command::Show(show)) => show::show(show, ui),
        Some(Command::Stats(stats)) => stats::stats(stats, ui),
        None => prepare::prepare(args, ui),
    }
}
