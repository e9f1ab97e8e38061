//! Predictions for a GPU, for people and for pipes.
use super::card::{Card, Rates};
use super::device::{OnCard, TimeOnCard};
use super::show::{event, setting};
use super::workload::Workload;
use crate::model::shape::Shape;
use crate::show::tagged;
use lora_cli::{Ui, human_bytes, human_seconds};

/// The settings of a line.
fn settings(work: &Workload) -> Vec<String> {
    let all = setting(work);
    let shown = all.into_iter().enumerate().filter(|(i, _)| *i != 4); // what layers keep is chosen for the card
    shown.map(|(_, word)| word).collect()
}

fn rows(head: &[&str], lines: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let settings = ["targets", "rank", "base", "length", "batch"];
    let head = settings.iter().chain(head).map(|word| (*word).to_owned());
    std::iter::once(head.collect()).chain(lines).collect()
}

fn again(memory: &OnCard) -> String {
    match memory.again {
        0 => "none".to_owned(),
        again => format!("{again} of {}", memory.layers + 1),
    }
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

/// Memory, line by line.
pub(super) fn memory(shape: &Shape, all: &[(Workload, OnCard)], card: &Card, ui: &Ui) {
    ui.event(&tagged("card", card));
    all.iter()
        .for_each(|(work, memory)| event("memory-on-card", shape, work, memory, ui));
    let lines = all.iter().map(|(work, m)| {
        let parts = [m.weights, m.adapter, m.step, m.driver, m.total];
        [
            settings(work),
            parts.map(human_bytes).to_vec(),
            vec![again(m), yes(m.fits), human_bytes(m.full)],
            vec![yes(m.full <= card.bytes)],
        ]
        .concat()
    });
    let head = [
        "weights",
        "adapter",
        "step",
        "driver",
        "peak",
        "layers again",
        "fits",
        "full (bf16)",
        "fits",
    ];
    ui.table(&rows(&head, lines));
    ui.out(&format!(
        "On {card}. Blocks of a quantised base stay blocks there; norms are held in f32, all else in bf16. Layers are computed again where their activations would not fit; 6 % are left free for what allocations round up to."
    ));
    ui.out(
        "full: weights and gradients in bf16, master weights and AdamW's moments in f32, and the same activations.",
    );
}

/// `1,200–2,400`, each with two digits.
fn range(ends: [f64; 2]) -> String {
    let digits = |value: f64| {
        let unit = 10f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
        lora_core::thousands(((value / unit).round() * unit) as u64)
    };
    format!("{}–{}", digits(ends[0]), digits(ends[1]))
}

fn seconds(ends: [f64; 2]) -> String {
    let [slowest, fastest] = ends.map(|seconds| match seconds < 1.0 {
        true => format!("{:.0} ms", 1e3 * seconds),
        false => human_seconds(seconds),
    });
    format!("{fastest} – {slowest}")
}

/// Time, line by line.
pub(super) fn time(
    shape: &Shape,
    all: &[(Workload, OnCard, TimeOnCard)],
    card: &Card,
    rates: Rates,
    ui: &Ui,
) {
    ui.event(&tagged("card", card));
    all.iter()
        .for_each(|(work, _, time)| event("time-on-card", shape, work, time, ui));
    let lines = all.iter().map(|(work, m, t)| {
        [
            settings(work),
            vec![work.steps.to_string(), seconds(t.step), seconds(t.epoch)],
            vec![range(t.tokens_per_s), again(m), yes(m.fits)],
        ]
        .concat()
    });
    let head = [
        "steps",
        "a step",
        "an epoch",
        "tokens/s",
        "layers again",
        "fits",
    ];
    ui.table(&rows(&head, lines));
    ui.out(&format!(
        "An estimate for {card}: operations at 50 % of the {:.0} TFLOP/s that are published for bf16, what passes through memory at the published {:.0} GB/s, 0.8 ms a layer to start its kernels. Measured on an H100 alone, at 2,048 tokens a step: shapes of 135M, 1B and 8B gave 64,300, 40,800 and 12,000 tokens/s.",
        rates.products / 1e12,
        rates.memory / 1e9,
    ));
}
