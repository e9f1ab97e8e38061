//! A tool's flags as JSON (`TOOL --describe`), so that lora-run can check a pipeline before anything runs.
use clap::{Arg, ArgAction, Command};
use serde_json::{Value, json};

/// Name, version, flags and subcommands of a tool, as `--describe` prints them.
///
/// Each flag has `name` (kebab-case, as under `with:`), `positional`, `required`, `takes_value`, `repeated`, `delimiter`
/// (what separates several values in one, or null), `values` (the only ones allowed, or empty) and `help`.
pub fn describe(mut command: Command) -> Value {
    command.build();
    describe_built(&command)
}

fn describe_built(command: &Command) -> Value {
    let shown = |arg: &&Arg| {
        !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        )
    };
    json!({
        "tool": command.get_name(),
        "version": command.get_version(),
        "flags": command.get_arguments().filter(shown).map(flag).collect::<Vec<_>>(),
        "subcommands": command.get_subcommands().filter(|c| c.get_name() != "help").map(describe_built).collect::<Vec<_>>(),
    })
}

fn flag(arg: &Arg) -> Value {
    let takes_value = arg.get_action().takes_values();
    let many = arg
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    json!({
        "name": arg.get_long().map_or_else(|| arg.get_id().as_str().replace('_', "-"), str::to_owned),
        "positional": arg.is_positional(),
        "required": arg.is_required_set(),
        "takes_value": takes_value,
        "repeated": many || matches!(arg.get_action(), ArgAction::Append),
        "delimiter": arg.get_value_delimiter(),
        "values": if takes_value { values(arg) } else { Vec::new() },
        "help": arg.get_help().map(ToString::to_string),
    })
}

fn values(arg: &Arg) -> Vec<String> {
    arg.get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect()
}
