//! `lora-plan explain`: from a number of trainable parameters back to the configurations that have it.
use crate::model::shape::{self, Shape};
use crate::params::count::{Count, RANKS, TARGETS};
use crate::rules::{Rule, capacity};
use crate::show::tagged;
use lora_cli::{Error, Result, Status, Ui, human_bytes};
use lora_core::{LoraConfig, TargetModules, thousands, trainable_line};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Find the configurations that train a given number of parameters, and say what that number means.
///
/// Looks through every set of the layers' linear modules and every rank up to 1024; if no whole set gives the number,
/// through the usual sets on a part of the layers.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
#[command(after_help = EXAMPLES)]
#[serde(rename_all = "kebab-case")]
pub struct ExplainArgs {
    /// Trainable parameters, as PEFT prints them (commas are fine).
    #[arg(long, value_name = "N", value_parser = figure)]
    pub trainable: u64,
    /// Model: a Hugging Face folder, a config.json, a GGUF file, hub:OWNER/NAME, or a name such as llama-3-8b (a
    /// wrong name lists them).
    #[arg(long, value_name = "MODEL")]
    pub model: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  lora-plan explain --trainable 3407872 --model llama-3-8b
  lora-plan explain --trainable 4,884,480 --model smollm2.gguf";

/// Largest rank that is looked for.
const MOST_RANK: u64 = 1024;

/// What a number of trainable parameters may come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The model, as the user named it.
    pub model: String,
    /// PEFT's line.
    pub line: String,
    /// Configurations that train exactly so many, the most usual first.
    pub matches: Vec<Match>,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// Rank r.
    pub rank: usize,
    /// Kinds of modules, the most usual set first; all have equally many parameters.
    pub targets: Vec<Vec<String>>,
    /// The name of the first set, if it has one.
    pub preset: Option<String>,
    /// Layers that carry adapters, and how many the model has.
    pub layers: (usize, usize),
    /// The count.
    #[serde(flatten)]
    pub count: Count,
    /// Trainable parameters as a share of the weights of the targeted modules.
    pub share_of_targets: f64,
    /// Smallest and largest full rank, min(in, out), among the targeted modules: ΔW has at most rank r of it.
    pub full_rank: (usize, usize),
    /// What the rank is commonly enough for.
    pub capacity: Rule,
}

pub(crate) fn run(args: &ExplainArgs, ui: &Ui) -> Result<Status> {
    let shape = shape::resolve(&args.model)?;
    let found = explain(&shape, args.trainable)?;
    show(&found, ui);
    if found.matches.is_empty() {
        let hint = "rank patterns, modules_to_save or biases may be in it: `lora-plan params --config ADAPTER` counts those";
        return Err(Error::new(format!(
            "no rank up to {MOST_RANK} on any set of {}'s linear modules trains {} parameters",
            found.model,
            thousands(args.trainable)
        ))
        .hint(hint));
    }
    Ok(Status::Done)
}

/// The configurations that train `trainable` parameters on a model.
///
/// # Errors
/// When the shape can't carry LoRA.
pub fn explain(shape: &Shape, trainable: u64) -> Result<Explanation> {
    let kinds = Kinds::of(shape)?;
    let mut matches = kinds.whole(trainable)?;
    if matches.is_empty() {
        matches = kinds.in_part(trainable)?;
    }
    matches.sort_by_key(Match::oddity);
    let line = trainable_line(trainable, trainable, shape.total_parameters());
    Ok(Explanation {
        model: shape.name.clone(),
        line,
        matches,
    })
}

impl Match {
    /// The less usual, the larger: named sets come first, then the ranks of tutorials and PEFT's default, then powers of
    /// two, then as many layers as possible and the smaller set.
    fn oddity(&self) -> (bool, usize, usize, usize) {
        let rank = match self.rank {
            8 | 16 | 32 | 64 => 0,
            rank if rank.is_power_of_two() => 1,
            _ => 2,
        };
        (
            self.preset.is_none(),
            rank,
            self.layers.1 - self.layers.0,
            self.targets.first().map_or(0, Vec::len),
        )
    }
}

/// The kinds of modules in the layers, in all of them together.
struct Kinds<'s> {
    shape: &'s Shape,
    kinds: Vec<Kind>,
    /// The named sets, as bits over `kinds`.
    presets: Vec<(usize, &'static str)>,
}

struct Kind {
    name: String,
    /// Σ(in + out): parameters that it trains with rank 1.
    unit: u64,
    /// Σ in·out.
    weights: u64,
    /// min(in, out).
    full_rank: usize,
}

impl<'s> Kinds<'s> {
    fn of(shape: &'s Shape) -> Result<Self> {
        let modules = shape.modules();
        let names = |targets: TargetModules| {
            LoraConfig::new(1, 1.0, targets)
                .layout(&modules)
                .map(|l| l.modules)
        };
        let mut kinds: Vec<Kind> = Vec::new();
        for module in &names(shape.targets("all")?)? {
            let (name, i, o) = (short(&module.path), module.in_features, module.out_features);
            let at = kinds
                .iter()
                .position(|kind| kind.name == name)
                .unwrap_or_else(|| {
                    kinds.push(Kind {
                        name: name.to_owned(),
                        unit: 0,
                        weights: 0,
                        full_rank: i.min(o),
                    });
                    kinds.len() - 1
                });
            kinds[at].unit += (i + o) as u64;
            kinds[at].weights += (i * o) as u64;
        }
        let mut presets = Vec::new();
        for name in TARGETS {
            let targeted = names(shape.targets(name)?)?;
            let has = |kind: &Kind| targeted.iter().any(|m| short(&m.path) == kind.name);
            presets.push((
                kinds
                    .iter()
                    .enumerate()
                    .filter(|(_, k)| has(k))
                    .map(|(i, _)| 1 << i)
                    .sum(),
                name,
            ));
        }
        Ok(Self {
            shape,
            kinds,
            presets,
        })
    }

    fn of_set(&self, set: usize) -> Vec<&Kind> {
        self.kinds
            .iter()
            .enumerate()
            .filter(|(i, _)| set >> i & 1 == 1)
            .map(|(_, kind)| kind)
            .collect()
    }

    /// Parameters that a set trains with rank 1.
    fn unit(&self, set: usize) -> u64 {
        self.of_set(set).iter().map(|kind| kind.unit).sum()
    }

    /// Sets over all layers. Sets of one rank are one match.
    fn whole(&self, trainable: u64) -> Result<Vec<Match>> {
        let mut by_rank: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for set in 1..1usize << self.kinds.len().min(16) {
            let unit = self.unit(set);
            if trainable.is_multiple_of(unit) && (1..=MOST_RANK).contains(&(trainable / unit)) {
                by_rank.entry(trainable / unit).or_default().push(set);
            }
        }
        let layers = self.shape.layers();
        by_rank
            .into_iter()
            .map(|(rank, sets)| self.describe(rank as usize, sets, layers))
            .collect()
    }

    /// Named sets on some of the layers, with the usual ranks.
    fn in_part(&self, trainable: u64) -> Result<Vec<Match>> {
        let mut matches = Vec::new();
        let all = self.shape.layers();
        for &(set, _) in &self.presets {
            for rank in RANKS {
                let a_layer = self.unit(set) / all as u64 * rank as u64;
                let layers = (trainable / a_layer) as usize;
                if trainable.is_multiple_of(a_layer) && (1..all).contains(&layers) {
                    matches.push(self.describe(rank, vec![set], layers)?);
                }
            }
        }
        Ok(matches)
    }

    /// A match, counted as any other configuration is: on the first `layers` layers, all of which are alike.
    fn describe(&self, rank: usize, mut sets: Vec<usize>, layers: usize) -> Result<Match> {
        let preset = |set: usize| {
            self.presets
                .iter()
                .find(|(bits, _)| *bits == set)
                .map(|(_, name)| *name)
        };
        let names = |set: usize| {
            self.of_set(set)
                .iter()
                .map(|kind| kind.name.clone())
                .collect::<Vec<_>>()
        };
        sets.sort_by_key(|&set| (preset(set).is_none(), set));
        let (first, all) = (self.of_set(sets[0]), self.shape.layers());
        let targets = if layers == all {
            TargetModules::List(names(sets[0]))
        } else {
            let numbers: Vec<String> = (0..layers).map(|layer| layer.to_string()).collect();
            TargetModules::Regex(format!(
                r".*\.({})\..*\.({})",
                numbers.join("|"),
                names(sets[0]).join("|")
            ))
        };
        let layout = LoraConfig::new(rank, rank as f64, targets).layout(&self.shape.modules())?;
        let count = Count::of(&layout, self.shape.total_parameters());
        let weights =
            first.iter().map(|kind| kind.weights).sum::<u64>() * layers as u64 / all as u64;
        Ok(Match {
            rank,
            targets: sets.iter().map(|&set| names(set)).collect(),
            preset: preset(sets[0]).map(str::to_owned),
            layers: (layers, all),
            count,
            share_of_targets: count.trainable as f64 / weights.max(1) as f64,
            full_rank: (
                first.iter().map(|kind| kind.full_rank).min().unwrap_or(0),
                first.iter().map(|kind| kind.full_rank).max().unwrap_or(0),
            ),
            capacity: capacity(rank),
        })
    }
}

fn short(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Sets that are shown to people after the first.
const FEW: usize = 3;

fn show(found: &Explanation, ui: &Ui) {
    if ui.json() {
        found
            .matches
            .iter()
            .for_each(|row| ui.event(&tagged("match", row)));
        return;
    }
    ui.out(&found.line);
    let Some(best) = found.matches.first() else {
        return;
    };
    ui.out("");
    let mut rows = vec![
        ["rank", "targets", "layers", "of the targeted weights"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in found.matches.iter().take(2 * FEW) {
        let layers = if row.layers.0 == row.layers.1 {
            "all".to_owned()
        } else {
            format!("{} of {}", row.layers.0, row.layers.1)
        };
        rows.push(vec![
            row.rank.to_string(),
            targets(row),
            layers,
            format!("{:.2} %", 100.0 * row.share_of_targets),
        ]);
    }
    ui.table(&rows);
    if found.matches.len() > 2 * FEW {
        ui.out(&format!(
            "and {} less usual ones (all with --json)",
            found.matches.len() - 2 * FEW
        ));
    }
    let (low, high) = best.full_rank;
    let of = if low == high {
        low.to_string()
    } else {
        format!("{low} to {high}")
    };
    ui.out(&format!(
        "The first: every ΔW has rank {} at most, of {of}; its file takes {}.",
        best.rank,
        human_bytes(best.count.adapter_bytes)
    ));
    ui.out(&format!(
        "Capacity: {} ({}).",
        best.capacity.says, best.capacity.source
    ));
}

fn targets(row: &Match) -> String {
    let set = |names: &[String]| names.join(",");
    let mut text = set(&row.targets[0]);
    if let Some(name) = &row.preset {
        text += &format!(" ({name})");
    }
    for other in row.targets.iter().skip(1).take(FEW) {
        text += &format!(" or {}", set(other));
    }
    if row.targets.len() > 1 + FEW {
        text += " …";
    }
    text
}

fn figure(text: &str) -> Result<u64, String> {
    match text.replace([',', '_', ' '], "").parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number above 0".to_owned()),
    }
}
