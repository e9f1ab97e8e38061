//! The way from raw files to a folder: rows are encoded on all cores, wait until all are known, are put into their splits
//! and written.
use crate::model::Model;
use crate::prepared::Prepared;
use crate::read::Raw;
use crate::row::Worker;
use crate::tally::Tally;
use crate::way::Way;
use crate::{Args, idle, output, pipeline, report};
use lora_cli::{Error, Result, Status, Ui, artefact_input};
use lora_data::KNOWN_KEYS;
use lora_receipt::Artefact;
use std::sync::Arc;

/// Share of the prompts that is held out where nobody says another.
const VALID: f64 = 0.1;

/// Bytes of encoded rows that wait in memory; more wait on disk.
const MEMORY: usize = 64 << 20;

/// Makes the dataset folder.
pub(crate) fn prepare(args: Args, ui: &Ui) -> Result<Status> {
    prepare_within(MEMORY, args, ui)
}

/// The same with so many bytes of encoded rows in memory.
fn prepare_within(memory: usize, mut args: Args, ui: &Ui) -> Result<Status> {
    let (Some(base), Some(out)) = (args.base.take(), args.out.clone()) else {
        return Err(Error::new("--base and --out are needed"));
    };
    let base = artefact_input(&base, Artefact::Model)?;
    args.base = Some(base.clone());
    let model = Model::open(&args, &base)?;
    args.max_length = Some(model.max_length);
    if model.max_length > model.context {
        ui.warn(&format!(
            "--max-length {} is more than the model's context of {} tokens",
            model.max_length, model.context
        ));
    }
    let staged = output::stage(&args, &out)?;
    let mut inputs = model.inputs.clone();
    let raw = Raw::of(&args)?;
    let own = raw.own();
    let share = if own.is_empty() { VALID } else { 0.0 };
    args.valid.get_or_insert(share);
    let worker = Arc::new(Worker::new(&args, model)?);
    let model = &worker.model;
    let mut way = Way::new(&args, model, memory, staged.path());
    let raw = read(raw, &worker, &mut way, ui)?;
    raw.notes.iter().for_each(|note| ui.say(note));
    inputs.extend(raw.inputs);
    let mut prepared = Prepared::of(way, &args, model, raw.names, &own)?;
    prepared.check(&args, &own)?;
    check_refused(&args, &prepared.refused, prepared.read)?;
    let manifest = prepared.write(staged.path(), &args, model)?;
    report::print(&manifest, &prepared, model, ui);
    idle::warn(&args, &worker, &prepared, ui);
    output::commit(staged, &args, inputs, &manifest, ui)?;
    Ok(Status::Done)
}

/// Sends all rows on their way.
fn read(mut raw: Raw, worker: &Arc<Worker>, way: &mut Way<'_>, ui: &Ui) -> Result<Raw> {
    let progress = ui.progress("preparing", 0, "rows");
    let raw = pipeline::run(
        worker.threads(),
        move |feed| {
            raw.each(|rows| feed.give(rows));
            raw
        },
        |rows| worker.batch(rows),
        || ui.check_interrupt(),
        |made| {
            progress.inc(made.rows.len() as u64);
            way.take(made)
        },
    )?;
    way.end();
    if way.read == 0 {
        return Err(Error::new("there is no row to prepare").hint(format!(
            "each row is a JSON object with the keys {KNOWN_KEYS}"
        )));
    }
    Ok(raw)
}

/// Refuses to write where more rows were refused than somebody allows.
fn check_refused(args: &Args, refused: &Tally, read: usize) -> Result<()> {
    let count: usize = refused.iter().map(|(_, rows, _)| rows).sum();
    let Some(most) = args.max_refused else {
        return Ok(());
    };
    if count as f64 <= most * read as f64 {
        return Ok(());
    }
    let reasons = refused
        .iter()
        .map(|(reason, rows, first)| format!("{rows} {reason} (first: {first})"));
    let reasons: Vec<String> = reasons.collect();
    let what = format!("{count} of {read} rows were refused, more than --max-refused {most}");
    Err(Error::new(what).hint(reasons.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    /// Rows that wait on disk are written as those that wait in memory, and the disk holds nothing of them afterwards.
    #[test]
    fn where_rows_wait_changes_no_byte() {
        let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw.jsonl");
        let row = |n: usize| {
            format!(
                "{{\"prompt\": \"what is {}?\", \"completion\": \"{n}\", \"n\": {n}}}\n",
                n % 500
            )
        };
        std::fs::write(&raw, (0..1200).map(row).collect::<String>()).unwrap();
        let written = |memory: usize| {
            let out = folder.path().join(memory.to_string());
            let paths = [
                "lora-prep".as_ref(),
                raw.as_os_str(),
                "--out".as_ref(),
                out.as_os_str(),
            ];
            let flags = [
                "--base", base, "--keep", "n", "--near", "0.9", "--test", "0.2",
            ];
            let args = paths
                .into_iter()
                .chain(flags.into_iter().map(AsRef::as_ref));
            prepare_within(memory, Args::parse_from(args), &Ui::silent()).unwrap();
            let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().flatten().collect();
            files.retain(|file| file.file_name() != "receipt.json");
            files.sort_by_key(std::fs::DirEntry::file_name);
            assert_eq!(files.len(), 4);
            let bytes = |file: &std::fs::DirEntry| std::fs::read(file.path()).unwrap();
            files.iter().map(bytes).collect::<Vec<_>>()
        };
        let in_memory = written(usize::MAX);
        assert!(in_memory == written(0) && in_memory == written(10_000));
    }
}
