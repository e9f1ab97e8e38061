//! Before anything runs, every step's command line is parsed by the tool that it is for.
use crate::file::Source;
use crate::ready::Ready;
use crate::tools::Tool;
use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result};
use lora_records::Refusal;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};

/// The tools that parse the steps' command lines, each at work while the next steps are looked at.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    by_program: BTreeMap<PathBuf, Asked>,
}

/// One tool, and the steps whose command lines it was sent.
#[derive(Debug)]
struct Asked {
    program: PathBuf,
    child: Child,
    lines: Sender<String>,
    steps: Vec<usize>,
}

impl Checks {
    /// Sends the command line of the step at `index` to its tool.
    pub(crate) fn ask(&mut self, index: usize, tool: &Tool, arguments: &[String]) -> Result<()> {
        if !tool.checks_arguments() {
            return Ok(());
        }
        let asked = match self.by_program.entry(tool.program.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Asked::start(&tool.program)?),
        };
        let line = serde_json::to_string(arguments).foreign()? + "\n";
        let _ = asked.lines.send(line); // a tool that stops reading has told why
        asked.steps.push(index);
        Ok(())
    }

    /// Fails, pointing into the file, at the first step whose values its tool refuses.
    pub(crate) fn answers(self, source: &Source, steps: &[Ready]) -> Result<()> {
        let mut refusals = BTreeMap::new();
        for asked in self.by_program.into_values() {
            refusals.extend(asked.answers()?);
        }
        let first = refusals
            .into_iter()
            .find_map(|(index, refusal)| Some((index, refusal?)));
        first.map_or(Ok(()), |(index, refusal)| {
            Err(explained(source, &steps[index], refusal))
        })
    }
}

impl Asked {
    fn start(program: &Path) -> Result<Self> {
        let failed = || failed(program);
        let mut child = Command::new(program)
            .arg("--check-args")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(lora_cli::refused)
            .context(failed)?;
        let mut stdin = child.stdin.take();
        let (lines, waiting) = channel::<String>();
        lora_cli::thread("writing to it", move || {
            while let (Some(stdin), Ok(mut lines)) = (&mut stdin, waiting.recv()) {
                lines.extend(waiting.try_iter()); // many lines at a time
                if stdin.write_all(lines.as_bytes()).is_err() {
                    break; // the tool has stopped reading
                }
            }
        })
        .context(failed)?; // without one its standard input is closed
        Ok(Self {
            program: program.to_path_buf(),
            child,
            lines,
            steps: Vec::new(),
        })
    }

    /// What the tool says of each command line.
    fn answers(self) -> Result<Vec<(usize, Option<Refusal>)>> {
        let failed = || failed(&self.program);
        drop(self.lines);
        let output = self.child.wait_with_output().foreign().context(failed)?;
        let answers = String::from_utf8_lossy(&output.stdout);
        let answers: Vec<Option<Refusal>> = answers
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .foreign()
            .context(failed)?;
        if answers.len() == self.steps.len() {
            Ok(self.steps.into_iter().zip(answers).collect())
        } else {
            Err(Error::new(failed()).hint("is another program of that name in its place?"))
        }
    }
}

fn failed(program: &Path) -> String {
    format!("failed to ask {} --check-args", program.display())
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
