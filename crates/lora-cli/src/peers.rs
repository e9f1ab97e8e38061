//! Names that other tools give to flags of ours: taken on every command line, shown in no help.
use crate::ToolArgs;
use clap::Command;
use std::collections::HashSet;

/// Flags of ours, and what transformers, PEFT, TRL, Axolotl, LLaMA-Factory, Unsloth, mlx-lm and llama.cpp call the same
/// thing. Only names whose values mean the same stand here. An underscore is as good as a hyphen.
const PEERS: &[(&str, &[&str])] = &[
    ("rank", &["r", "lora-r", "lora-rank"]),
    ("alpha", &["lora-alpha"]),
    ("dropout", &["lora-dropout"]),
    (
        "targets",
        &["target-modules", "lora-target-modules", "lora-target"],
    ),
    ("rslora", &["use-rslora"]),
    ("dora", &["use-dora"]),
    ("init", &["init-lora-weights"]),
    ("layers", &["layers-to-transform"]),
    ("exclude", &["exclude-modules"]),
    ("lora-plus-ratio", &["loraplus-lr-ratio", "loraplus-ratio"]),
    ("lr", &["learning-rate"]),
    ("schedule", &["lr-scheduler-type", "lr-scheduler"]),
    ("warmup", &["warmup-ratio", "warmup-steps"]),
    ("clip", &["max-grad-norm"]),
    ("epochs", &["num-train-epochs", "num-epochs"]),
    ("steps", &["max-steps", "iters"]),
    (
        "batch",
        &[
            "batch-size",
            "micro-batch-size",
            "per-device-train-batch-size",
        ],
    ),
    (
        "accumulation",
        &["gradient-accumulation-steps", "grad-accumulation-steps"],
    ),
    ("eval-every", &["eval-steps", "steps-per-eval"]),
    ("patience", &["early-stopping-patience"]),
    (
        "base",
        &[
            "model",
            "model-name-or-path",
            "base-model",
            "base-model-name-or-path",
        ],
    ),
    ("model", &["base", "model-name-or-path", "base-model"]),
    (
        "adapter",
        &["adapter-path", "adapter-name-or-path", "lora-model-dir"],
    ),
    ("out", &["output", "output-dir", "outfile", "save-path"]),
    ("data", &["dataset", "data-path"]),
    ("dtype", &["outtype"]),
    (
        "max-length",
        &[
            "max-seq-length",
            "sequence-len",
            "cutoff-len",
            "max-seq-len",
        ],
    ),
    ("max-new-tokens", &["max-tokens", "n-predict"]),
    ("template", &["chat-template"]),
    ("system", &["system-prompt"]),
    ("seed", &["random-seed"]),
    ("threads", &["n-threads", "num-threads"]),
    ("force", &["overwrite", "overwrite-output-dir"]),
    ("length", &["max-seq-length", "sequence-len", "ctx-size"]),
];

/// The tool's command, which also takes the names that other tools use.
pub(crate) fn command<A: ToolArgs>() -> Command {
    with_peers(A::command())
}

fn with_peers(command: Command) -> Command {
    let own = command.get_arguments().filter_map(|arg| arg.get_long());
    let mut taken: HashSet<String> = own.chain(["help", "version"]).map(str::to_owned).collect();
    let command = command.mut_args(|arg| {
        let Some(own) = arg.get_long() else {
            return arg;
        };
        let mut aliases = Vec::new();
        let peers = PEERS.iter().filter(|(name, _)| *name == own);
        let spellings = peers.flat_map(|(_, names)| *names).copied();
        for name in std::iter::once(own).chain(spellings) {
            for spelling in [name.to_owned(), name.replace('-', "_")] {
                if taken.insert(spelling.clone()) {
                    aliases.push(&*spelling.leak()); // clap keeps names as long as the program runs
                }
            }
        }
        arg.aliases(aliases)
    });
    command.mut_subcommands(with_peers)
}

#[cfg(test)]
mod tests {
    use super::with_peers;
    use clap::{Arg, ArgAction, Command};

    fn tool() -> Command {
        let flags = ["base", "alpha", "lora-plus-ratio", "batch"].map(|name| {
            let arg = Arg::new(name).long(name);
            arg.action(ArgAction::Set)
        });
        with_peers(Command::new("tool").args(flags))
    }

    #[test]
    fn names_of_other_tools_are_taken() {
        let words =
            "tool --model m --lora_alpha 8 --loraplus-lr-ratio 4 --per_device_train_batch_size 2";
        let found = tool().try_get_matches_from(words.split(' ')).unwrap();
        let value = |name: &str| found.get_one::<String>(name).unwrap().clone();
        assert_eq!(
            [
                value("base"),
                value("alpha"),
                value("lora-plus-ratio"),
                value("batch")
            ],
            ["m", "8", "4", "2"]
        );
    }

    #[test]
    fn a_flag_of_our_own_is_nobodys_alias() {
        let command = Command::new("tool").args(["base", "model"].map(|n| Arg::new(n).long(n)));
        let found = with_peers(command)
            .try_get_matches_from(["tool", "--base", "b", "--model", "m"])
            .unwrap();
        assert_eq!(found.get_one::<String>("model").unwrap(), "m");
    }

    #[test]
    fn they_stand_in_no_help() {
        let help = tool().render_long_help().to_string();
        assert!(
            !help.contains("lora-alpha") && !help.contains("batch-size"),
            "{help}"
        );
    }
}
