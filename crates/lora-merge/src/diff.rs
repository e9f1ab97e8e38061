//! `--diff A B`: how far two adapters differ, module by module.
use crate::{Args, inputs};
use lora_cli::{Error, Result, Ui};
use lora_core::{Adapter, Comparison};
use serde_json::json;
use std::path::Path;

/// Shows a table, or a JSON line a module.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let [first, second] = args.diff.as_slice() else {
        return Err(Error::new("--diff takes two adapters"));
    };
    let base = inputs::open_base(args, &args.diff, ui)?;
    let load = |path: &Path| -> Result<Adapter> {
        let (adapter, warnings) = inputs::load_adapter(path, base.as_ref())?;
        warnings.iter().for_each(|warning| ui.warn(warning));
        Ok(adapter)
    };
    let diff = lora_core::diff(&load(first)?, &load(second)?)?;
    let all = diff
        .modules
        .iter()
        .map(|(path, c)| (path.as_str(), c))
        .chain([("all modules", &diff.total)]);
    if ui.json() {
        for (module, c) in all {
            ui.event(&json!({
                "event": "difference",
                "module": module,
                "first_norm": c.norms.0,
                "second_norm": c.norms.1,
                "cosine": c.cosine,
                "distance": c.distance,
            }));
        }
        return Ok(());
    }
    let head = [
        "module",
        "‖ΔW‖ first",
        "‖ΔW‖ second",
        "cosine",
        "‖difference‖",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = std::iter::once(Vec::from(head))
        .chain(all.map(|(module, c)| cells(module, c)))
        .collect();
    ui.table(&rows);
    Ok(())
}

fn cells(module: &str, c: &Comparison) -> Vec<String> {
    let cosine = c
        .cosine
        .map_or("-".to_owned(), |cosine| format!("{cosine:.4}"));
    vec![
        module.to_owned(),
        format!("{:.4}", c.norms.0),
        format!("{:.4}", c.norms.1),
        cosine,
        format!("{:.4}", c.distance),
    ]
}
