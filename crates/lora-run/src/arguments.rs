//! Before anything runs, every step's command line is parsed by the tool that it is for.
use crate::file::Source;
use crate::ready::Ready;
use crate::tools::Tool;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result};
use lora_records::Refusal;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Fails, pointing into the file, at the first step whose values its tool refuses.
pub(crate) fn check(source: &Source, steps: &[Ready]) -> Result<()> {
    let mut by_tool: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
    for (index, ready) in steps.iter().enumerate() {
        let tool = ready.tool.as_deref().filter(|tool| tool.checks_arguments());
        if let Some(tool) = tool {
            by_tool.entry(&tool.program).or_default().push(index);
        }
    }
    let mut refusals = BTreeMap::new();
    for indices in by_tool.values() {
        let Some(tool) = indices.first().and_then(|&at| steps[at].tool.as_deref()) else {
            continue;
        };
        let lines: Vec<&[String]> = indices.iter().map(|&at| &steps[at].arguments[..]).collect();
        let answers = ask(tool, &lines)?;
        refusals.extend(indices.iter().copied().zip(answers));
    }
    let first = refusals
        .into_iter()
        .find_map(|(index, refusal)| Some((index, refusal?)));
    first.map_or(Ok(()), |(index, refusal)| {
        Err(explained(source, &steps[index], refusal))
    })
}

/// What the tool says of each command line.
fn ask(tool: &Tool, lines: &[&[String]]) -> Result<Vec<Option<Refusal>>> {
    let failed = || format!("failed to ask {} --check-args", tool.program.display());
    let mut asked = String::new();
    for line in lines {
        asked += &serde_json::to_string(line).foreign()?;
        asked.push('\n');
    }
    let mut child = Command::new(&tool.program)
        .arg("--check-args")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(lora_cli::refused)
        .context(failed)?;
    let mut stdin = child.stdin.take();
    let writer = lora_cli::thread("writing to it", move || {
        if let Some(stdin) = &mut stdin {
            let _ = stdin.write_all(asked.as_bytes()); // a tool that stops reading has told why
        }
    })
    .context(failed)?; // without one its standard input is closed
    let output = child.wait_with_output().foreign().context(failed)?;
    let _ = writer.join();
    let answers = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<Option<Refusal>> = answers
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .foreign()
        .context(failed)?;
    if answers.len() == lines.len() {
        Ok(answers)
    } else {
        Err(Error::new(failed()).hint("is another program of that name in its place?"))
    }
}

fn explained(source: &Source, ready: &Ready, refusal: Refusal) -> Error {
    let step = &ready.step;
    let named = refusal.flag.as_deref().unwrap_or_default();
    let name = step.name.as_str();
    let error = if step.with.iter().any(|(key, _)| key == named) {
        source.error_at(&["steps", name, "with", named], &refusal.message)
    } else if step.inputs.iter().any(|(key, _)| key == named) {
        source.error_at(&["steps", name, "in", named], &refusal.message)
    } else {
        source.error_at(&["steps", name], &refusal.message)
    };
    match refusal.hint {
        Some(hint) => error.hint(hint),
        None => error.hint("--dry-run prints the command line of every step"),
    }
}
