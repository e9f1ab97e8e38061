//! A tool's flags as JSON (`TOOL --describe`), so that lora-run can check a pipeline before anything runs.
use crate::{ToolArgs, peers};
use clap::{Arg, ArgAction, Command};
use lora_records::{Description, Flag, Kind, Role};
use std::any::TypeId;
use std::path::PathBuf;

/// Name, version, flags and subcommands of a tool, as `--describe` prints them.
///
/// Each flag has `name` (kebab-case, as under `with:`), `positional`, `required`, `takes_value`, `repeated`, `delimiter`
/// (what separates several values in one, or null), `values` (the only ones allowed, or empty), `type`, `default`,
/// `role` (of a path: is it read or written), `changes_result` and `help`.
pub fn describe<A: ToolArgs>() -> Description {
    let mut command = peers::command::<A>();
    command.build();
    describe_built::<A>(&command)
}

fn describe_built<A: ToolArgs>(command: &Command) -> Description {
    let shown = |arg: &&Arg| {
        let about_itself = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        !about_itself && !arg.is_hide_set()
    };
    let subcommands = command
        .get_subcommands()
        .filter(|command| command.get_name() != "help");
    Description {
        tool: command.get_name().to_owned(),
        version: command.get_version().map(str::to_owned),
        checks_arguments: true,
        progress_events: true,
        flags: command
            .get_arguments()
            .filter(shown)
            .map(flag::<A>)
            .collect(),
        subcommands: subcommands.map(describe_built::<A>).collect(),
    }
}

fn flag<A: ToolArgs>(arg: &Arg) -> Flag {
    let takes_value = arg.get_action().takes_values();
    let many = arg
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    let name = arg
        .get_long()
        .map_or_else(|| arg.get_id().as_str().replace('_', "-"), str::to_owned);
    let kind = kind(arg);
    let role = if A::OUTPUTS.contains(&&name[..]) {
        Role::Output
    } else {
        Role::Input
    };
    Flag {
        positional: arg.is_positional(),
        required: arg.is_required_set(),
        takes_value,
        repeated: many || matches!(arg.get_action(), ArgAction::Append),
        delimiter: arg.get_value_delimiter(),
        values: if takes_value { values(arg) } else { Vec::new() },
        kind,
        default: takes_value.then(|| default(arg)).flatten(),
        role: (kind == Kind::Path).then_some(role),
        changes_result: !A::WITHOUT_EFFECT.contains(&&name[..]),
        help: arg.get_help().map(ToString::to_string),
        aliases: arg
            .get_all_aliases()
            .unwrap_or_default()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        name,
    }
}

/// What the flag's parser makes of its value.
fn kind(arg: &Arg) -> Kind {
    if !arg.get_action().takes_values() {
        return Kind::Switch;
    }
    let made = arg.get_value_parser().type_id();
    let is_one_of = |types: &[TypeId]| types.iter().any(|one| made == *one);
    let whole = [
        TypeId::of::<usize>(),
        TypeId::of::<u64>(),
        TypeId::of::<u32>(),
        TypeId::of::<i64>(),
    ];
    if is_one_of(&[TypeId::of::<PathBuf>()]) {
        Kind::Path
    } else if is_one_of(&whole) {
        Kind::Integer
    } else if is_one_of(&[TypeId::of::<f64>(), TypeId::of::<f32>()]) {
        Kind::Number
    } else {
        Kind::Text
    }
}

fn default(arg: &Arg) -> Option<String> {
    let values: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    let delimiter = arg.get_value_delimiter().unwrap_or(',');
    (!values.is_empty()).then(|| values.join(&delimiter.to_string()))
}

fn values(arg: &Arg) -> Vec<String> {
    arg.get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect()
}
