//! Rows of a dataset as text, with the supervised tokens marked.
use crate::args::{SPLIT, ShowArgs};
use crate::model;
use crate::page::Page;
use crate::source::SOURCE;
use crate::text::{BRACKETS, Text, style};
use lora_checkpoint::TokenizerBundle;
use lora_cli::{Error, Result, Status, Ui, artefact_input};
use lora_data::{Split, dataset_tokenizer, read_column, split_name};
use lora_receipt::{Artefact, Receipt};
use serde_json::{Value, json};
use std::path::Path;

/// Rows that are printed, and that a page holds, where nobody says how many.
const ROWS: usize = 3;
const PAGE: usize = 1000;

/// Prints some rows of a split.
pub(crate) fn show(args: &ShowArgs, ui: &Ui) -> Result<Status> {
    let data = artefact_input(&args.data, Artefact::Dataset)?;
    let name = split_name(&data, &args.split, SPLIT)?;
    let split = Split::read(&data, &args.split)?;
    let bundle = bundle(args, &data, &split)?;
    let style = style(ui);
    let sources = read_column(&data, &args.split, SOURCE).unwrap_or_default();
    let count = args
        .n
        .unwrap_or(if args.html.is_some() { PAGE } else { ROWS });
    let title = format!("{name} of {}", data.display());
    let mut page = Page::new(&title);
    for (number, example) in split
        .examples
        .iter()
        .enumerate()
        .skip(args.skip)
        .take(count)
    {
        let text = Text::of(example, bundle.as_ref());
        let mut event = json!({
            "event": "row", "row": number + 1, "id": example.id, "tokens": example.len(),
            "supervised": example.supervised(), "text": text.marked(&BRACKETS),
        });
        let source = sources.get(number).and_then(Value::as_str);
        if let Some(source) = source {
            event["source"] = source.into();
        }
        if args.ids {
            event["input_ids"] = json!(example.input_ids);
            event["labels"] = json!(example.labels);
        }
        let mut heading = format!(
            "{name} row {} of {} · {} tokens, {} supervised · {}",
            number + 1,
            split.examples.len(),
            example.len(),
            example.supervised(),
            example.id
        );
        if let Some(source) = source {
            heading = format!("{heading} · {source}");
        }
        if args.html.is_some() {
            page.row(&heading, &text);
            continue;
        }
        ui.event(&event);
        ui.out(&heading);
        text.lines(&style, usize::MAX)
            .iter()
            .for_each(|line| ui.out(line));
        if args.ids {
            ui.out(&format!("  ids {:?}", example.input_ids));
        }
        ui.out("");
    }
    if let Some(file) = &args.html {
        std::fs::write(file, page.finish()).map_err(|error| {
            Error::foreign(error).context(format!("failed to write {}", file.display()))
        })?;
    }
    Ok(Status::Done)
}

/// The tokenizer that decodes the ids: the one asked for, or the receipt's if it is still there and still the same.
fn bundle(args: &ShowArgs, data: &Path, split: &Split) -> Result<Option<TokenizerBundle>> {
    if let Some(folder) = dataset_tokenizer(data) {
        let bundle = TokenizerBundle::from_files(&folder)?;
        split.check_tokenizer(&bundle.sha256, data)?;
        return Ok(Some(bundle));
    }
    if let Some(base) = &args.base {
        let (bundle, _) = model::tokenizer(base)?;
        split.check_tokenizer(&bundle.sha256, data)?;
        return Ok(Some(bundle));
    }
    let base = Receipt::load(data).ok().and_then(|receipt| {
        receipt
            .inputs
            .into_iter()
            .find(|input| input.name == "base")
    });
    let bundle = base
        .and_then(|base| model::tokenizer(&base.path).ok())
        .map(|(bundle, _)| bundle);
    Ok(bundle.filter(|bundle| split.tokenizer_sha256.as_ref() == Some(&bundle.sha256)))
}
