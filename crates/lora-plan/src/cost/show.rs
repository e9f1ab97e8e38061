//! Predictions for people and for pipes.
use super::memory::Memory;
use super::time::{Speed, Time};
use super::workload::Workload;
use crate::model::shape::Shape;
use crate::plot::{Chart, Line};
use crate::show::tagged;
use lora_cli::{Ui, human_bytes, human_seconds};
use serde::Serialize;

/// One prediction: what for, and what.
pub(super) fn event<T: Serialize>(name: &str, shape: &Shape, work: &Workload, fact: &T, ui: &Ui) {
    let mut event = tagged(name, work);
    event.insert("model".to_owned(), shape.name.clone().into());
    event.extend(
        tagged("", fact)
            .into_iter()
            .filter(|(key, _)| key != "event"),
    );
    ui.event(&event);
}

/// The settings of a line; those that never change are left to the heading.
pub(super) fn setting(work: &Workload) -> Vec<String> {
    let mean = (work.tokens as f64 / work.rows.max(1) as f64).round();
    let length = if mean == work.longest as f64 {
        work.longest.to_string()
    } else {
        format!("{mean} (to {})", work.longest)
    };
    vec![
        work.targets.clone(),
        work.rank.to_string(),
        work.base.name().to_owned(),
        length,
        work.keep.name().to_owned(),
        work.batch.to_string(),
    ]
}

const SETTING: [&str; 6] = ["targets", "rank", "base", "length", "keep", "batch"];

fn rows(head: &[&str], lines: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let head = SETTING
        .iter()
        .chain(head)
        .map(|word| (*word).to_owned())
        .collect();
    std::iter::once(head).chain(lines).collect()
}

/// Memory, line by line.
pub(super) fn memory(shape: &Shape, all: &[(Workload, Memory)], free: Option<u64>, ui: &Ui) {
    all.iter()
        .for_each(|(work, memory)| event("memory", shape, work, memory, ui));
    let lines = all.iter().map(|(work, m)| {
        let parts = [
            m.base,
            m.activations,
            m.scratch,
            m.adapter,
            m.process,
            m.total,
            m.peft,
            m.full,
        ];
        let fits = match free {
            Some(free) if m.total > free => "no",
            Some(_) => "yes",
            None => "?",
        };
        [
            setting(work),
            parts.map(human_bytes).to_vec(),
            vec![fits.to_owned()],
        ]
        .concat()
    });
    let head = [
        "weights",
        "activations",
        "scratch",
        "adapter",
        "process",
        "peak",
        "PEFT (f32)",
        "full (f32)",
        "fits here",
    ];
    ui.table(&rows(&head, lines));
    let batches: std::collections::BTreeSet<usize> =
        all.iter().map(|(work, _)| work.batch).collect();
    if batches.len() > 2 {
        memory_chart(all)
            .text(80, 16)
            .iter()
            .for_each(|line| ui.out(line));
        ui.out("");
    }
    if let Some(free) = free {
        ui.out(&format!("This machine can give {} now.", human_bytes(free)));
    }
    ui.out(
        "PEFT: formula fitted to measured runs of SmolLM2-135M. full: 16 bytes a parameter, and the same activations.",
    );
}

/// Peak memory by batch: ours for every other setting, and PEFT's and full fine-tuning's for the first. Lines are named by
/// what tells them apart; what all have in common stands above.
pub(super) fn memory_chart(all: &[(Workload, Memory)]) -> Chart {
    let parts = |work: &Workload| -> [String; 5] {
        let [targets, rank, base, length, keep, ..] = &setting(work)[..] else {
            return Default::default();
        };
        [
            targets.clone(),
            format!("r {rank}"),
            format!("base {base}"),
            format!("{length} tokens"),
            format!("keep {keep}"),
        ]
    };
    let first = all.first().map(|(work, _)| parts(work)).unwrap_or_default();
    let varies: [bool; 5] =
        std::array::from_fn(|part| all.iter().any(|(work, _)| parts(work)[part] != first[part]));
    let those = |parts: &[String; 5], vary: bool| -> String {
        let chosen = parts
            .iter()
            .zip(varies)
            .filter(|(_, varies)| *varies == vary)
            .map(|(part, _)| part.as_str());
        chosen.collect::<Vec<_>>().join(", ")
    };
    let mut lines: Vec<Line> = Vec::new();
    let mut add = |name: &str, batch: usize, bytes: u64| {
        let point = (batch as f64, bytes as f64 / 1e9);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name: name.to_owned(),
                points: vec![point],
            }),
        }
    };
    for (work, memory) in all {
        if parts(work) == first {
            add("PEFT (f32)", work.batch, memory.peft);
            add("full fine-tuning (f32)", work.batch, memory.full);
        }
        let name = if varies.contains(&true) {
            those(&parts(work), true)
        } else {
            "lora-train".to_owned()
        };
        add(&name, work.batch, memory.total);
    }
    let common = those(&first, false);
    Chart {
        title: ["predicted peak memory", &common]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": "),
        x: "examples in a batch".to_owned(),
        y: "GB".to_owned(),
        log_y: false,
        lines,
    }
}

/// Time, line by line.
pub(super) fn time(shape: &Shape, all: &[(Workload, Time)], speed: &Speed, ui: &Ui) {
    ui.event(&tagged("speed", speed));
    all.iter()
        .for_each(|(work, time)| event("time", shape, work, time, ui));
    let lines = all.iter().map(|(work, t)| {
        let times = [t.step, t.epoch, t.evaluation].map(human_seconds).to_vec();
        let others = [t.peft_epoch, t.full_epoch].map(human_seconds).to_vec();
        [
            setting(work),
            vec![work.steps.to_string()],
            times,
            vec![format!("{:.0}", t.tokens_per_s)],
            others,
        ]
        .concat()
    });
    ui.table(&rows(
        &[
            "steps",
            "a step",
            "an epoch",
            "held out",
            "tokens/s",
            "PEFT's epoch",
            "full epoch",
        ],
        lines,
    ));
    let how = if speed.measured {
        "by two micro-steps timed now"
    } else {
        "a share of the gemm peak (--measure times the model itself)"
    };
    ui.out(&format!(
        "gemm peak {:.0} GFLOP/s here now; training at {:.0} GFLOP/s, {how}.",
        speed.gemm_peak / 1e9,
        speed.rate / 1e9
    ));
}
