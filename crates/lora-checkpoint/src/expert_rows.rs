//! Experts that lie stacked in one tensor: each is a range of its rows, read where it lies; `expert_columns` has those that are
//! turned round.
use crate::ModelConfig;
use crate::error::Fault;
use crate::expert_columns;
use crate::families::Stacked;
use crate::projection::Projection::{self, Down, Gate, Up};
use crate::stored::{Laid, Stored, put};
use crate::view::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Some rows of a stored tensor, as a matrix of their own: (rows, last dimension).
pub(crate) fn rows_of(entry: &Entry, rows: Range<usize>) -> Entry {
    let (&columns, outer) = entry.shape.split_last().unwrap_or((&0, &[]));
    let all: usize = outer.iter().product();
    let row_bytes = entry.range.len() / all.max(1);
    let start = entry.range.start;
    Entry {
        range: start + rows.start * row_bytes..start + rows.end * row_bytes,
        shape: vec![rows.len(), columns],
        ..entry.clone()
    }
}

/// The tensors of transformers 5's modules, which files may hold as they are: the router under its module's path, gate and
/// up of all experts in one (E, 2·I, H), down in another (E, H, I). Takes them apart into each expert's own.
pub(crate) fn apart(
    config: &ModelConfig,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), Fault> {
    let Some(names) = config.facts().experts else {
        return Ok(());
    };
    if let Some(Stacked::Columns(stacks)) = names.stacked {
        return expert_columns::apart(config, stacks, entries);
    }
    let [router, path] = names.modules();
    for layer in 0..config.num_hidden_layers {
        let Some(experts) = config.experts_of(layer) else {
            continue;
        };
        let of_layer = |name: &str| format!("model.layers.{layer}.{name}");
        let own = of_layer(&format!("{}.weight", names.router));
        let renamed = of_layer(&format!("{router}.weight"));
        if let Some(entry) = entries.remove(&renamed) {
            put(entries, own, entry, &renamed)?;
        }
        let (gate_up, down): (&[Projection], &[Projection]) = (&[Gate, Up], &[Down]);
        for (place, name, parts) in [(0, "gate_up_proj", gate_up), (1, "down_proj", down)] {
            let in_files = match names.stacked {
                Some(Stacked::Rows(stacks)) => Some(of_layer(stacks[place])),
                _ => None,
            };
            let of_module = of_layer(&format!("{path}.{name}"));
            let name = match &in_files {
                Some(name) if entries.contains_key(name) => name.clone(),
                _ => of_module,
            };
            let Some(stacked) = entries.remove(&name) else {
                match in_files {
                    None => continue,
                    Some(name) => {
                        let missing = Fault::new(format!("tensor {name} is missing"));
                        return Err(missing.hint("is every shard there?"));
                    }
                }
            };
            let (out, inn) = config.expert_shape(experts, parts[0]);
            let expected = [experts.count, parts.len() * out, inn];
            if stacked.shape != expected {
                return Err(Fault::new(format!(
                    "tensor {name} has shape {:?}, the config calls for {expected:?}",
                    stacked.shape
                )));
            }
            for expert in 0..experts.count {
                for (place, &part) in parts.iter().enumerate() {
                    let first = (expert * parts.len() + place) * out;
                    let rows = rows_of(&stacked, first..first + out);
                    let own = of_layer(&format!("{}.weight", names.of(expert, part)));
                    put(entries, own, rows, &name)?;
                }
            }
        }
    }
    Ok(())
}

impl ModelConfig {
    /// The tensors in which transformers' files hold these weights of the model, by name.
    #[must_use]
    pub fn stored(&self, weights: impl IntoIterator<Item = (String, Vec<usize>)>) -> Vec<Stored> {
        let mut all = self.stacks();
        let within: Vec<&String> = all.iter().flat_map(|stack| &stack.weights).collect();
        let within: BTreeSet<String> = within.into_iter().cloned().collect();
        let alone = weights
            .into_iter()
            .filter(|(name, _)| !within.contains(name));
        all.extend(alone.map(|(name, shape)| Stored {
            weights: vec![name.clone()],
            name,
            shape,
            laid: Laid::Whole,
        }));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Those that hold all experts of a layer.
    fn stacks(&self) -> Vec<Stored> {
        let Some(names) = self.facts().experts else {
            return Vec::new();
        };
        let [gate_up, down] = match names.stacked {
            None => return Vec::new(),
            Some(Stacked::Columns(stacks)) => return expert_columns::stacks(self, stacks),
            Some(Stacked::Rows(stacks)) => stacks,
        };
        let mut all = Vec::new();
        for layer in 0..self.num_hidden_layers {
            let Some(experts) = self.experts_of(layer) else {
                continue;
            };
            let of_layer = |name: &str| format!("model.layers.{layer}.{name}");
            let stacks: [(&str, &[Projection]); 2] = [(gate_up, &[Gate, Up]), (down, &[Down])];
            for (name, parts) in stacks {
                let (out, inn) = self.expert_shape(experts, parts[0]);
                let each =
                    (0..experts.count).flat_map(|e| parts.iter().map(move |&part| (e, part)));
                let path = |(expert, part)| of_layer(&format!("{}.weight", names.of(expert, part)));
                all.push(Stored {
                    name: of_layer(name),
                    shape: vec![experts.count, parts.len() * out, inn],
                    weights: each.map(path).collect(),
                    laid: Laid::Whole,
                });
            }
        }
        all
    }
}
