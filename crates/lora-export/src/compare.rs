//! `--compare`: what each type costs on the user's own rows, in one table. The files are written, read back and removed.
use crate::divergence::{Divergence, Predicts, measure};
use crate::inputs::Source;
use crate::output::name;
use crate::{Args, Dtype, importance, verify};
use lora_checkpoint::{Checkpoint, Importance, save_gguf};
use lora_cli::{Error, Foreign as _, Result, Ui, human_bytes};
use lora_model::Base;
use serde_json::{Value, json};
use std::path::Path;

/// Shows a table, or a JSON line a type.
pub(crate) fn run(args: &Args, source: &Source, ui: &Ui) -> Result<()> {
    let Source::Model(model) = source else {
        return Err(Error::new("--compare is for models").hint("name one: --model MODEL"));
    };
    let importance = importance::of(args, source, ui)?;
    let reference = verify::reference(args, source, ui)?;
    let rows = verify::rows(args, &reference.base)?;
    let folder = tempfile::tempdir().foreign()?;
    let mut lines = vec![
        [
            "type",
            "size",
            "bits",
            "perplexity",
            "KL mean",
            "KL max",
            "agreement",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for &dtype in &args.compare {
        let path = folder.path().join("model.gguf");
        let bytes = write(args, model, dtype, importance.as_ref(), &path, ui)?;
        let base = Base::open(&path)?;
        let other = Predicts {
            base: &base,
            adapter: None,
        };
        let found = measure(&reference.predicts(), &other, &rows, &dtype.name(), ui)?;
        let bits = 8.0 * bytes as f64 / base.total_parameters() as f64;
        if lines.len() == 1 {
            lines.push(cells("(before)", None, found.reference_perplexity, None));
        }
        lines.push(cells(
            &dtype.name(),
            Some((bytes, bits)),
            found.perplexity,
            Some(&found),
        ));
        if ui.json() {
            ui.event(&event(dtype, bytes, &found, &reference.name));
        }
    }
    if !ui.json() {
        let tokens = rows
            .iter()
            .map(|row| row.labels.iter().skip(1).filter(|l| **l >= 0).count());
        let tokens: usize = tokens.sum();
        ui.out(&format!(
            "against {} · {} rows · {tokens} supervised tokens",
            reference.name,
            rows.len()
        ));
        ui.table(&lines);
    }
    Ok(())
}

/// Writes one type; bytes of the file.
fn write(
    args: &Args,
    model: &Checkpoint,
    dtype: Dtype,
    importance: Option<&Importance>,
    path: &Path,
    ui: &Ui,
) -> Result<u64> {
    let name = name(args, model.path());
    save_gguf(path, model, dtype.gguf_model(importance), &name, |_| {
        ui.check_interrupt()
    })?;
    Ok(std::fs::metadata(path).foreign()?.len())
}

fn cells(
    name: &str,
    size: Option<(u64, f64)>,
    perplexity: f64,
    found: Option<&Divergence>,
) -> Vec<String> {
    let size = size.map(|(bytes, bits)| (human_bytes(bytes), format!("{bits:.2}")));
    let (bytes, bits) = size.unwrap_or_default();
    let shown = |of: fn(&Divergence) -> String| found.map(of).unwrap_or_default();
    vec![
        name.to_owned(),
        bytes,
        bits,
        format!("{perplexity:.4}"),
        shown(|found| format!("{:.5}", found.mean_kl)),
        shown(|found| format!("{:.3}", found.max_kl)),
        shown(|found| format!("{:.1} %", 100.0 * found.agreement)),
    ]
}

fn event(dtype: Dtype, bytes: u64, found: &Divergence, against: &str) -> Value {
    let mut event = json!(found);
    event["event"] = json!("comparison");
    event["dtype"] = json!(dtype);
    event["bytes"] = json!(bytes);
    event["against"] = json!(against);
    event
}
