//! What a finished (or broken) run left behind: the trainings in a folder, and what was made of each.
mod answers;
mod command;
mod dataset;
mod evaluation;
mod place;
mod training;

pub use command::CommandLine;
pub(crate) use command::{FreeNames, output_again, prep_again, quoted, train_again};
pub(crate) use dataset::{DatasetFacts, SplitFacts};
pub(crate) use evaluation::Evaluation;
pub(crate) use training::Training;

use place::{beside, same_place};

use lora_cli::Foreign as _;
use lora_cli::{Context as _, Error, Result};
use lora_receipt::{Hashes, Receipt, receipt_path};
use lora_records::Event;
use std::path::{Path, PathBuf};

/// One training, with everything that was found around it.
#[derive(Debug)]
pub struct Run {
    /// What tells it from the other runs: its folder's path as the user would type it.
    pub name: String,
    /// Its settings and metrics.
    pub(crate) training: Training,
    /// The dataset, if it is still there.
    pub(crate) dataset: Option<DatasetFacts>,
    /// Reports of lora-eval on this adapter.
    pub(crate) evaluations: Vec<Evaluation>,
    /// Receipts of merged models.
    pub(crate) merges: Vec<Receipt>,
    /// Reports of lora-eval on a merged or exported model, behind the receipt of that model.
    pub(crate) remeasured: Vec<(Receipt, Evaluation)>,
    /// Receipts of what was made from other content of the adapter's folder than lies there now.
    pub(crate) outdated: Vec<Receipt>,
    /// Files of the training and of its reports that are not what their tool wrote, so that what is read in them may not
    /// be what was measured.
    pub(crate) changed: Vec<String>,
}

/// A step that left no output, and what its log says.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The step's name.
    pub(crate) step: String,
    /// Its log.
    pub(crate) log: PathBuf,
    /// The lines from `error:` on.
    pub(crate) lines: Vec<String>,
}

/// What one RUN argument stands for.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) runs: Vec<Run>,
    pub(crate) failures: Vec<Failure>,
    /// Outputs beside the runs whose receipt can't be read, and why: what they say of a run is not seen.
    pub(crate) unreadable: Vec<String>,
}

impl Found {
    /// All that is damaged, one line each.
    pub(crate) fn damage(&self) -> Vec<String> {
        let changed = self.runs.iter().flat_map(|run| &run.changed);
        let mut all: Vec<String> = changed.chain(&self.unreadable).cloned().collect();
        all.dedup();
        all
    }
}

/// The runs at a path: an adapter folder, or a folder of steps such as `work/finetune`.
///
/// # Errors
/// When there is neither a training nor a failed step, or when a file of ours is damaged.
pub(crate) fn find(path: &Path) -> Result<Found> {
    let (trainings, neighbours) = if training::is_training(path) {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        (
            vec![path.to_path_buf()],
            outputs(parent).unwrap_or_default(),
        )
    } else {
        let outputs = outputs(path)?;
        (
            outputs
                .iter()
                .filter(|folder| training::is_training(folder))
                .cloned()
                .collect(),
            outputs,
        )
    };
    let mut receipts = Vec::new();
    let mut unreadable = Vec::new();
    for output in &neighbours {
        match receipt(output) {
            None => {}
            Some(Ok(receipt)) => receipts.push(receipt),
            Some(Err(error)) => unreadable.push(error.to_string()),
        }
    }
    let runs = trainings
        .iter()
        .map(|folder| run(folder, &receipts))
        .collect::<Result<Vec<_>>>()?;
    let failures = if training::is_training(path) {
        Vec::new()
    } else {
        failures(path)?
    };
    if runs.is_empty() && failures.is_empty() {
        return Err(Error::new(format!("{} holds no training", path.display()))
            .hint("name an adapter folder of lora-train, or a pipeline's folder of steps such as work/finetune"));
    }
    Ok(Found {
        runs,
        failures,
        unreadable,
    })
}

/// A training and what the receipts around it say of it.
fn run(folder: &Path, receipts: &[Receipt]) -> Result<Run> {
    let training = Training::read(folder)?;
    let made_from = |name: &'static str, path: &Path, receipt: &Receipt| {
        receipt
            .inputs
            .iter()
            .any(|input| input.name == name && same_place(&input.path, path))
    };
    let of_tool = |tool: &'static str| receipts.iter().filter(move |receipt| receipt.tool == tool);
    let of_adapter: Vec<&Receipt> = receipts
        .iter()
        .filter(|receipt| made_from("adapter", folder, receipt))
        .collect();
    let now = if of_adapter.is_empty() {
        None
    } else {
        content(&training)
    };
    let is_current = |receipt: &&Receipt| {
        let read = receipt
            .inputs
            .iter()
            .find(|input| input.name == "adapter" && same_place(&input.path, folder));
        read.zip(now.as_ref())
            .is_none_or(|(read, now)| read.sha256 == *now)
    };
    let (current, outdated): (Vec<&Receipt>, Vec<&Receipt>) =
        of_adapter.into_iter().partition(is_current);
    let on_adapter = |tool: &'static str| {
        current
            .iter()
            .copied()
            .filter(move |receipt| receipt.tool == tool)
    };
    let evaluations: Vec<Evaluation> = on_adapter("lora-eval")
        .filter_map(|receipt| Evaluation::read(receipt, folder).transpose())
        .collect::<Result<_>>()?;
    let merges: Vec<Receipt> = on_adapter("lora-merge").cloned().collect();
    let of_merge = |receipt: &&Receipt| {
        merges
            .iter()
            .any(|merge| made_from("model", &merge.out, receipt))
    };
    let exports: Vec<Receipt> = on_adapter("lora-export")
        .chain(of_tool("lora-export").filter(of_merge))
        .cloned()
        .collect();
    let models = || merges.iter().chain(&exports);
    let remeasured = of_tool("lora-eval")
        .filter_map(|report| {
            let base = &report
                .inputs
                .iter()
                .find(|input| input.name == "base")?
                .path;
            let is_it = |model: &&Receipt| {
                same_place(base, &model.out)
                    || base
                        .parent()
                        .is_some_and(|parent| same_place(parent, &model.out))
            };
            let model = models().find(is_it)?.clone();
            let evaluation = Evaluation::read_base(report).transpose()?;
            Some(evaluation.map(|evaluation| (model, evaluation)))
        })
        .collect::<Result<_>>()?;
    let dataset = training
        .data()
        .and_then(|data| beside(&data, folder))
        .map(|data| DatasetFacts::read(&data));
    Ok(Run {
        name: folder.display().to_string(),
        dataset: dataset.transpose()?,
        changed: changed(&training, &evaluations)?,
        training,
        evaluations,
        merges,
        remeasured,
        outdated: outdated.into_iter().cloned().collect(),
    })
}

/// The hash of a training's folder as lora-train has left it; none if somebody has edited it since.
fn content(training: &Training) -> Option<String> {
    let mut hashes = Hashes::default();
    let change = training
        .receipt
        .as_ref()?
        .first_change(&training.folder, &mut hashes)
        .ok()?;
    if change.is_some() {
        None
    } else {
        hashes.hash_path(&training.folder).ok()
    }
}

/// What lies in a folder and may be a tool's output, in order: folders, and files with a receipt beside them.
fn outputs(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path)
        .foreign()
        .context(|| format!("failed to read {}", path.display()))?;
    let is_output = |path: &PathBuf| path.is_dir() || receipt_path(path).is_file();
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_output)
        .collect();
    found.sort();
    Ok(found)
}

/// The receipt of a finished output; its `out` is where it lies now. None if there is none.
fn receipt(output: &Path) -> Option<Result<Receipt, lora_receipt::Error>> {
    let receipt = receipt_path(output)
        .is_file()
        .then(|| Receipt::load(output))?;
    Some(receipt.map(|receipt| Receipt {
        out: output.to_path_buf(),
        ..receipt
    }))
}

/// What is not as its tool wrote it, of a training and of the reports on it.
fn changed(training: &Training, evaluations: &[Evaluation]) -> Result<Vec<String>> {
    let reports = evaluations.iter().map(|report| report.folder.as_path());
    let mut found = Vec::new();
    for folder in std::iter::once(training.folder.as_path()).chain(reports) {
        let change = lora_receipt::changed_since(folder)?;
        found.extend(change.map(|change| change.to_string()));
    }
    Ok(found)
}

/// Steps of a pipeline whose log ends in an error and that left no output.
fn failures(path: &Path) -> Result<Vec<Failure>> {
    let entries = std::fs::read_dir(path)
        .foreign()
        .context(|| format!("failed to read {}", path.display()))?;
    let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    logs.retain(|log| {
        log.extension().is_some_and(|e| e == "log") && !log.with_extension("").exists()
    });
    logs.sort();
    Ok(logs.into_iter().filter_map(failure).collect())
}

fn failure(log: PathBuf) -> Option<Failure> {
    let text = String::from_utf8_lossy(&std::fs::read(&log).ok()?).into_owned();
    let step = log.file_stem()?.to_string_lossy().into_owned();
    let lines = told(&text).or_else(|| printed(&text))?;
    Some(Failure { step, log, lines })
}

/// Why a tool failed, by the event that it ended its stdout with.
fn told(log: &str) -> Option<Vec<String>> {
    let failure = log.lines().rev().find_map(|line| match Event::parse(line) {
        Some(Event::Error(failure)) => Some(("error", failure)),
        Some(Event::No(failure)) => Some(("no", failure)),
        _ => None,
    });
    let (label, failure) = failure?;
    let mut lines = vec![format!("{label}: {}", failure.message)];
    lines.extend(failure.causes.iter().map(|cause| format!("cause: {cause}")));
    lines.extend(failure.hint.map(|hint| format!("hint: {hint}")));
    Some(lines)
}

/// The last error that a shell line, or a tool of version 0.1.0, printed.
fn printed(log: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = log.lines().collect();
    let at = lines
        .iter()
        .rposition(|line| line.starts_with("error:") || line.starts_with("no:"))?;
    let found = lines[at..].iter().take(4);
    Some(found.map(|&line| line.to_owned()).collect())
}
