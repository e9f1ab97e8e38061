//! `--importance`: measured on a dataset as llama-imatrix does it (the mean square of what meets each column of the linear
//! layers, over all tokens), or read from a file.
use crate::inputs::Source;
use crate::{Args, verify};
use lora_checkpoint::{Importance, gguf};
use lora_cli::{Error, Result, Ui};
use lora_data::Example;
use lora_model::{Base, Fused, InputSquares, Packed};
use lora_receipt::Artefact;
use std::collections::BTreeMap;

/// Tokens that are run at a time.
const PACK: usize = 512;

/// What the arguments ask for; None if nothing.
pub(crate) fn of(args: &Args, source: &Source, ui: &Ui) -> Result<Option<Importance>> {
    let Some(path) = &args.importance else {
        return Ok(None);
    };
    if source.model().config().experts.is_some() {
        return Err(
            Error::new("--importance is not measured or read for a mixture of experts")
                .hint("leave it out: blocks are then searched without weights"),
        );
    }
    if path.is_file() {
        if args.importance_out.is_some() {
            return Err(Error::new(
                "--importance-out writes what is measured, but --importance is a file",
            )
            .hint("name a dataset with --importance"));
        }
        let importance = Importance::read(path)?;
        ui.say(&format!(
            "importance of {} matrices from {}",
            importance.len(),
            path.display()
        ));
        return Ok(Some(importance));
    }
    let path = &lora_cli::artefact_input(path, Artefact::Dataset)?;
    let base = Base::open(source.model().path())?;
    let rows = verify::split(path, "train", &base, args.importance_rows)?;
    let squares = measure(&base, &rows, ui)?;
    let importance = named(&base, &squares);
    ui.say(&format!(
        "importance of {} matrices from {} rows, {} tokens",
        importance.len(),
        rows.len(),
        squares.tokens
    ));
    if let Some(out) = &args.importance_out {
        importance.write(out, &path.display().to_string())?;
    }
    Ok(Some(importance))
}

fn measure(base: &Base, rows: &[Example], ui: &Ui) -> Result<InputSquares> {
    let threads = lora_cli::cores();
    let mut model = Fused::new(base, threads)?;
    let tokens: usize = rows.iter().map(|row| row.input_ids.len()).sum();
    let progress = ui.progress("importance", tokens as u64, "tok");
    let mut squares = InputSquares::default();
    for range in crate::divergence::packs(rows, PACK) {
        ui.check_interrupt()?;
        let rows = rows[range].iter();
        let packed = Packed::from_rows(rows.map(|row| (&row.input_ids[..], &row.labels[..])));
        model.watch_inputs(None, &packed, &mut squares)?;
        progress.inc(packed.tokens() as u64);
    }
    match squares.tokens {
        0 => Err(Error::new(
            "the dataset has no row to measure importance on",
        )),
        _ => Ok(squares),
    }
}

/// The sums, by the GGUF names of the matrices.
fn named(base: &Base, squares: &InputSquares) -> Importance {
    let mut columns = BTreeMap::new();
    for (&(layer, projection), sums) in &squares.sums {
        let weight = format!("{}.weight", base.config().path(projection, layer));
        let tensors = gguf::tensors_of(base.config(), &weight);
        for (name, _) in tensors.into_iter().flatten() {
            let sums: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
            let own = gguf::permute_columns(base.config(), &weight, &sums, sums.len());
            columns.insert(name, own);
        }
    }
    Importance::of_sums(columns, squares.tokens)
}
