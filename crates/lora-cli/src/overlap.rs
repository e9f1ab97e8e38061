//! The one place where inputs and outputs meet: before anything is written, an output that is, contains or lies in an input is
//! refused, and so are two inputs from stdin. Paths of the command line are checked when it is parsed, others when they are
//! found.
use crate::{Error, Result, ToolArgs};
use clap::ArgMatches;
use lora_receipt::refuse_overlap;
use std::any::TypeId;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What the flags of the command line say is written.
static OUTPUTS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Refuses a command line whose paths overlap, and remembers its outputs for what comes later.
pub(crate) fn check<A: ToolArgs>(matches: &ArgMatches) -> Result<()> {
    let mut matches = matches;
    let mut command = A::command();
    command.build();
    let mut command = &command;
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    loop {
        for arg in command.get_arguments() {
            if arg.get_value_parser().type_id() != TypeId::of::<PathBuf>() {
                continue;
            }
            let name = arg.get_long().unwrap_or(arg.get_id().as_str());
            let paths = matches.try_get_many::<PathBuf>(arg.get_id().as_str());
            let paths = paths.ok().flatten().into_iter().flatten().cloned();
            match A::OUTPUTS.contains(&name) {
                true => outputs.extend(paths),
                false => inputs.extend(paths),
            }
        }
        match matches.subcommand() {
            Some((name, inner)) if command.find_subcommand(name).is_some() => {
                command = command.find_subcommand(name).unwrap_or(command);
                matches = inner;
            }
            _ => break,
        }
    }
    refuse_two_from_stdin(&inputs)?;
    let outputs = OUTPUTS.get_or_init(|| outputs);
    for out in outputs {
        for input in &inputs {
            refuse_overlap(out, input)?;
        }
    }
    Ok(())
}

/// Refuses `-` for more than one input.
fn refuse_two_from_stdin(inputs: &[PathBuf]) -> Result<()> {
    let from_stdin = inputs.iter().filter(|path| path.as_os_str() == "-");
    match from_stdin.count() {
        0 | 1 => Ok(()),
        _ => Err(
            Error::new("only one input can be `-`, since stdin can be read once")
                .hint("name the others by their paths"),
        ),
    }
}

/// Refuses an input that was found later: through a pipe, or by the receipt of another.
pub(crate) fn check_input(input: &Path) -> Result<()> {
    for out in OUTPUTS.get().into_iter().flatten() {
        refuse_overlap(out, input)?;
    }
    Ok(())
}
