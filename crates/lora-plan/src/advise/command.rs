//! A plan as commands to paste.
use super::plan::Plan;
use super::situation::Situation;
use crate::run::{CommandLine, quoted};
use std::fmt::Write as _;

/// Where the base in 8-bit blocks goes.
const QUANTISED: &str = "base-q8_0.gguf";

/// The base in blocks, if the plan asks for that, and the training.
pub(super) fn commands(situation: &Situation, plan: &Plan) -> Vec<CommandLine> {
    let own = quoted(&situation.model.display().to_string());
    let mut commands = Vec::new();
    let mut base = own.clone();
    if plan.quantise {
        let line =
            format!("lora-export --model {own} --format gguf --dtype q8_0 --out {QUANTISED}");
        commands.push(CommandLine::new(line));
        base = QUANTISED.to_owned();
    }
    let data = quoted(&situation.data.path.display().to_string());
    let mut line = format!(
        "lora-train --base {base} --data {data} --rank {} --alpha {} --targets {}",
        plan.rank, plan.alpha, plan.targets
    );
    if plan.rslora {
        line += " --rslora";
    }
    let _ = write!(
        line,
        " --dropout {} --lr {:e} --epochs {} --batch {} --accumulation {} --schedule cosine",
        plan.dropout, plan.lr, plan.epochs, plan.batch, plan.accumulation
    );
    for (name, values) in situation.lora.given() {
        let _ = match values.is_empty() {
            true => write!(line, " --{name}"),
            false => write!(line, " --{name} {}", all_quoted(name, &values)),
        };
    }
    if situation.data.has_valid {
        line += " --patience 3";
    }
    if plan.device.is_some() {
        line += " --device cuda";
    }
    commands.push(CommandLine::new(line + " --out adapter"));
    commands
}

/// The values of a flag: it is named once for each.
fn all_quoted(name: &str, values: &[&str]) -> String {
    let all: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    all.join(&format!(" --{name} "))
}
