//! A plan for people and for pipes.
use super::count::{LayerCount, Params, RANKS, TARGETS};
use crate::show::tagged;
use lora_cli::{Ui, human_bytes};
use lora_core::thousands;

/// Prints it: tables for people, one JSON line a fact in a pipe.
pub(crate) fn show(params: &Params, ui: &Ui) {
    if ui.json() {
        let mut head = tagged("params", params);
        head.retain(|key, _| !["modules", "layers", "overview"].contains(&key.as_str()));
        ui.event(&head);
        params
            .modules
            .iter()
            .for_each(|row| ui.event(&tagged("module", row)));
        params
            .layers
            .iter()
            .for_each(|row| ui.event(&tagged("layer", row)));
        params
            .overview
            .iter()
            .for_each(|row| ui.event(&tagged("rank", row)));
        return;
    }
    ui.out(&params.line);
    ui.out(&heading(params));
    ui.out("");
    ui.table(&modules(params));
    layers(&params.layers).iter().for_each(|line| ui.out(line));
    ui.out("");
    ui.table(&overview(params));
}

fn heading(params: &Params) -> String {
    format!(
        "{}: rank {}, scaling {} ({}), targets {}, adapter file {}",
        params.model,
        params.rank,
        params.scaling,
        if params.rslora { "α/√r" } else { "α/r" },
        params.targets,
        human_bytes(params.count.adapter_bytes)
    )
}

fn modules(params: &Params) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["module", "in", "out", "modules", "trainable"]
            .map(str::to_string)
            .to_vec(),
    ];
    for row in &params.modules {
        let figures = [
            row.in_features as u64,
            row.out_features as u64,
            row.count as u64,
            row.trainable,
        ];
        rows.push(
            [row.module.clone()]
                .into_iter()
                .chain(figures.map(thousands))
                .collect(),
        );
    }
    let (count, trainable) = (
        params.modules.iter().map(|m| m.count as u64).sum(),
        params.count.trainable,
    );
    rows.push(vec![
        "all".to_string(),
        String::new(),
        String::new(),
        thousands(count),
        thousands(trainable),
    ]);
    rows
}

/// One line for each run of layers that are alike.
fn layers(layers: &[LayerCount]) -> Vec<String> {
    let alike = |a: &LayerCount, b: &LayerCount| {
        let follows = a.layer.zip(b.layer).is_some_and(|(a, b)| a + 1 == b);
        follows && (a.count, a.trainable) == (b.count, b.trainable)
    };
    let line = |run: &[LayerCount]| {
        let (first, last) = (run.first()?, run.last()?);
        let (modules, trainable) = (first.count, thousands(first.trainable));
        Some(match (first.layer, last.layer) {
            (Some(a), Some(b)) if a < b => {
                format!("layers {a} to {b}: {trainable} in {modules} modules each")
            }
            (Some(a), _) => format!("layer {a}: {trainable} in {modules} modules"),
            (None, _) => format!("outside the layers: {trainable} in {modules} modules"),
        })
    };
    layers.chunk_by(alike).filter_map(line).collect()
}

fn overview(params: &Params) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["rank"]
            .into_iter()
            .chain(TARGETS)
            .map(str::to_string)
            .collect::<Vec<_>>(),
    ];
    for rank in RANKS {
        let cells = params
            .overview
            .iter()
            .filter(|row| row.rank == rank)
            .map(|row| {
                let count = row.count;
                format!(
                    "{} ({:.2} %, {})",
                    thousands(count.trainable),
                    count.percent,
                    human_bytes(count.adapter_bytes)
                )
            });
        rows.push([rank.to_string()].into_iter().chain(cells).collect());
    }
    rows
}
