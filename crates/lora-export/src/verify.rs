//! `--verify`: the written model, read back, against base + adapter or the model that it was made of, and the gates on that.
use crate::Args;
use crate::args::SPLIT;
use crate::divergence::{Divergence, Predicts, measure};
use crate::inputs::Source;
use lora_cli::{Error, Result, Status, Ui};
use lora_core::Adapter;
use lora_data::{Example, Split, split_name};
use lora_model::{Adding, Base, open_for};
use lora_receipt::{Input, Receipt};
use serde_json::{Value, json};
use std::path::Path;

/// What the written model is held against.
pub(crate) struct Reference {
    pub(crate) base: Base,
    pub(crate) adapter: Option<Adapter>,
    /// What it is, for people.
    pub(crate) name: String,
}

impl Reference {
    pub(crate) fn predicts(&self) -> Predicts<'_> {
        Predicts {
            base: &self.base,
            adapter: self.adapter.as_ref(),
        }
    }
}

/// Measures, says what was found, and judges.
pub(crate) fn run(
    args: &Args,
    source: &Source,
    written: &Path,
    results: &mut Value,
    ui: &Ui,
) -> Result<Status> {
    let reference = reference(args, source, ui)?;
    let rows = rows(args, &reference.base)?;
    let base = Base::open(written)?;
    let other = Predicts {
        base: &base,
        adapter: None,
    };
    let found = measure(&reference.predicts(), &other, &rows, "verify", ui)?;
    ui.say(&format!(
        "against {}, over {} rows, {} tokens: KL divergence {:.5} nats on average, {:.3} at most; the likeliest token is \
         the same at {:.1} %; perplexity {:.4}, was {:.4}",
        reference.name,
        found.rows,
        found.tokens,
        found.mean_kl,
        found.max_kl,
        100.0 * found.agreement,
        found.perplexity,
        found.reference_perplexity
    ));
    results["verify"] = json!(found);
    results["verify"]["against"] = json!(reference.name);
    Ok(judge(args, &found))
}

fn judge(args: &Args, found: &Divergence) -> Status {
    let mut failed = Vec::new();
    if let Some(most) = args.max_kl.filter(|&most| found.mean_kl > most) {
        failed.push(format!(
            "mean KL divergence {:.5}, at most {most} wanted",
            found.mean_kl
        ));
    }
    if let Some(least) = args.min_agreement.filter(|&least| found.agreement < least) {
        failed.push(format!(
            "the likeliest token is the same at {:.4} of the places, at least {least} wanted",
            found.agreement
        ));
    }
    match failed.is_empty() {
        true => Status::Done,
        false => Status::No(failed.join("; ")),
    }
}

/// The rows that are run.
pub(crate) fn rows(args: &Args, base: &Base) -> Result<Vec<Example>> {
    let path = args.verify.as_deref().unwrap_or_else(|| Path::new(""));
    split_name(path, &args.split, SPLIT)?;
    let rows = split(path, &args.split, base, args.verify_rows)?;
    let supervised = |row: &Example| row.labels.iter().skip(1).any(|&label| label >= 0);
    match rows.iter().any(supervised) {
        true => Ok(rows),
        false => Err(Error::new(format!(
            "split {} of {} has no supervised token",
            args.split,
            path.display()
        ))
        .hint("name another split: --split train")),
    }
}

/// The first rows of a split that fits the model.
pub(crate) fn split(path: &Path, name: &str, base: &Base, rows: usize) -> Result<Vec<Example>> {
    let mut split = Split::read(path, name)?;
    if let Ok(bundle) = base.checkpoint().tokenizer() {
        split.check_tokenizer_of(&bundle, path)?;
    }
    split.check_vocabulary(base.config().vocab_size, path)?;
    split.examples.truncate(rows);
    Ok(split.examples)
}

/// Base + adapter where the model's receipt names them and they are what they were; else the model itself.
pub(crate) fn reference(args: &Args, source: &Source, ui: &Ui) -> Result<Reference> {
    let path = source.model().path();
    let itself = |why: &str| -> Result<Reference> {
        ui.say(&format!("compared with {} itself: {why}", path.display()));
        Ok(Reference {
            base: Base::open(path)?,
            adapter: None,
            name: path.display().to_string(),
        })
    };
    let receipt = args
        .model
        .as_deref()
        .and_then(|model| Receipt::load(model).ok());
    let Some(receipt) = receipt.filter(|receipt| receipt.tool == "lora-merge") else {
        return itself("it has no receipt of a merge");
    };
    let named = |name: &str| -> Vec<&Input> {
        receipt
            .inputs
            .iter()
            .filter(|input| input.name == name)
            .collect()
    };
    let ([base], [adapter]) = (&named("base")[..], &named("adapter")[..]) else {
        return itself("several adapters were merged");
    };
    if receipt.config["weight"]
        .as_array()
        .is_some_and(|w| !w.is_empty())
    {
        return itself("the adapter was merged with a weight");
    }
    for input in [base, adapter] {
        if !input.path.exists() {
            return itself(&format!("{} is not here any more", input.path.display()));
        }
        if Input::read(&input.name, &input.path)?.sha256 != input.sha256 {
            return itself(&format!("{} has changed since", input.path.display()));
        }
    }
    let adding = Adding {
        adapters: std::slice::from_ref(&adapter.path),
        dataset: None,
    };
    let opened = open_for(&base.path, adding)?.base;
    let (loaded, _) = Adapter::load(&adapter.path, &opened)?;
    Ok(Reference {
        adapter: Some(loaded.into_plain()?),
        base: opened,
        name: format!("{} + {}", base.path.display(), adapter.path.display()),
    })
}
