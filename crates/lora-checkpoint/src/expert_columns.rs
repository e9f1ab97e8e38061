//! Experts whose matrices lie turned round in one tensor, gates and ups in turn, or in blocks of MXFP4 beside their exponents;
//! with biases. Each is read where it lies.
use crate::ModelConfig;
use crate::error::Fault;
use crate::families::{ExpertFacts, Experts};
use crate::mxfp4::VALUES;
use crate::projection::Projection::{self, Down, Gate, Up};
use crate::safetensors_files::{BLOCKS, EXPONENTS};
use crate::storage::StorageDtype;
use crate::stored::{Laid, Stored, put};
use crate::view::{Entry, Strides};
use std::collections::BTreeMap;

/// A stack of a layer: the name of its tensor there, and whose matrices it holds in turn.
type Stack = (&'static str, &'static [Projection]);

fn stacks_of([gate_up, down]: [&'static str; 2]) -> [Stack; 2] {
    [(gate_up, &[Gate, Up]), (down, &[Down])]
}

/// Takes the stacks of all layers apart into each expert's own matrices and biases.
pub(crate) fn apart(
    config: &ModelConfig,
    names: [&'static str; 2],
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), Fault> {
    let Some(facts) = config.facts().experts else {
        return Ok(());
    };
    for layer in 0..config.num_hidden_layers {
        let Some(experts) = config.experts_of(layer) else {
            continue;
        };
        for (name, parts) in stacks_of(names) {
            let name = format!("model.layers.{layer}.{name}");
            let (out, inn) = config.expert_shape(experts, parts[0]);
            let stack = Whole {
                name,
                layer,
                experts,
                facts,
                parts,
                out,
                inn,
            };
            match entries.remove(&format!("{}{BLOCKS}", stack.name)) {
                Some(blocks) => stack.in_blocks(blocks, entries)?,
                None => stack.turned(entries)?,
            }
            if facts.biased {
                stack.biases(entries)?;
            }
        }
    }
    Ok(())
}

/// All matrices of some projections of a layer's experts.
struct Whole {
    name: String,
    layer: usize,
    experts: Experts,
    facts: ExpertFacts,
    parts: &'static [Projection],
    /// (out, in) of one.
    out: usize,
    inn: usize,
}

impl Whole {
    /// Rows of all parts of an expert.
    fn rows(&self) -> usize {
        self.parts.len() * self.out
    }

    /// Puts the matrix or bias of each expert among the entries. `first` and `strides` are in units of the tensor.
    fn put_each(
        &self,
        of: &str,
        entries: &mut BTreeMap<String, Entry>,
        entry: impl Fn(usize, usize) -> Entry,
    ) -> Result<(), Fault> {
        for expert in 0..self.experts.count {
            for (place, &part) in self.parts.iter().enumerate() {
                let path = self.facts.of(expert, part);
                let own = format!("model.layers.{}.{path}.{of}", self.layer);
                put(entries, own, entry(expert, place), &self.name)?;
            }
        }
        Ok(())
    }

    /// Matrices turned round, (E, in, parts · out).
    fn turned(&self, entries: &mut BTreeMap<String, Entry>) -> Result<(), Fault> {
        let (count, parts) = (self.experts.count, self.parts.len());
        let all = take(entries, &self.name, &[count, self.inn, self.rows()])?;
        let strides = Strides {
            row: parts,
            column: self.rows(),
        };
        self.put_each("weight", entries, |expert, place| {
            let first = expert * self.inn * self.rows() + place;
            strided(&all, first, strides, vec![self.out, self.inn])
        })
    }

    /// Blocks, (E, parts · out, in / 32, 16), and their exponents, (E, parts · out, in / 32).
    fn in_blocks(&self, blocks: Entry, entries: &mut BTreeMap<String, Entry>) -> Result<(), Fault> {
        if !self.inn.is_multiple_of(VALUES) {
            return Err(Fault::new(format!(
                "tensor {}{BLOCKS}: rows of {} values are no whole number of blocks of {VALUES}",
                self.name, self.inn
            )));
        }
        let each = self.inn / VALUES;
        let shape = [self.experts.count, self.rows(), each];
        check(
            &blocks,
            &format!("{}{BLOCKS}", self.name),
            &[&shape[..], &[16]].concat(),
        )?;
        let name = format!("{}{EXPONENTS}", self.name);
        let exponents = take(entries, &name, &shape)?;
        for (entry, end) in [(&blocks, BLOCKS), (&exponents, EXPONENTS)] {
            if entry.dtype != StorageDtype::Mxfp4Apart {
                return Err(Fault::new(format!(
                    "tensor {}{end} has dtype {:?}, expected bytes",
                    self.name, entry.dtype
                )));
            }
        }
        let strides = Strides {
            row: self.parts.len() * each,
            column: 1,
        };
        self.put_each("weight", entries, |expert, place| {
            let first = (expert * self.rows() + place) * each;
            let own = strided(&blocks, first, strides, vec![self.out, self.inn]);
            let start = exponents.range.start + first;
            let len = own.range.len() / 16;
            Entry {
                exponents: Some((exponents.file, start..start + len)),
                ..own
            }
        })
    }

    /// Biases, (E, parts · out).
    fn biases(&self, entries: &mut BTreeMap<String, Entry>) -> Result<(), Fault> {
        let name = format!("{}_bias", self.name);
        let all = take(entries, &name, &[self.experts.count, self.rows()])?;
        let strides = Strides {
            row: 0,
            column: self.parts.len(),
        };
        self.put_each("bias", entries, |expert, place| {
            let first = expert * self.rows() + place;
            strided(&all, first, strides, vec![self.out])
        })
    }
}

/// A matrix or a vector in a tensor, from its unit `first` on.
fn strided(all: &Entry, first: usize, strides: Strides, shape: Vec<usize>) -> Entry {
    let (values, bytes) = all.dtype.unit();
    let columns = shape.last().map_or(0, |n| n / values);
    let rows = if shape.len() == 1 { 1 } else { shape[0] };
    let last = (rows - 1) * strides.row + (columns - 1) * strides.column;
    let start = all.range.start + first * bytes;
    Entry {
        range: start..start + (last + 1) * bytes,
        shape,
        strides: Some(strides),
        ..all.clone()
    }
}

fn take(
    entries: &mut BTreeMap<String, Entry>,
    name: &str,
    shape: &[usize],
) -> Result<Entry, Fault> {
    let missing = || Fault::new(format!("tensor {name} is missing")).hint("is every shard there?");
    let entry = entries.remove(name).ok_or_else(missing)?;
    check(&entry, name, shape)?;
    Ok(entry)
}

fn check(entry: &Entry, name: &str, shape: &[usize]) -> Result<(), Fault> {
    match entry.shape == shape {
        true => Ok(()),
        false => Err(Fault::new(format!(
            "tensor {name} has shape {:?}, the config calls for {shape:?}",
            entry.shape
        ))),
    }
}

/// The tensors that hold all experts of each layer.
pub(crate) fn stacks(config: &ModelConfig, names: [&'static str; 2]) -> Vec<Stored> {
    let mut all = Vec::new();
    let Some(facts) = config.facts().experts else {
        return all;
    };
    for layer in 0..config.num_hidden_layers {
        let Some(experts) = config.experts_of(layer) else {
            continue;
        };
        for (name, parts) in stacks_of(names) {
            let (out, inn) = config.expert_shape(experts, parts[0]);
            let weights = |of: &str| -> Vec<String> {
                let each =
                    (0..experts.count).flat_map(|e| parts.iter().map(move |&part| (e, part)));
                let path = |(e, part)| format!("model.layers.{layer}.{}.{of}", facts.of(e, part));
                each.map(path).collect()
            };
            let name = format!("model.layers.{layer}.{name}");
            let laid = Laid::Columns(parts.len());
            if facts.biased {
                all.push(Stored {
                    name: format!("{name}_bias"),
                    shape: vec![experts.count, parts.len() * out],
                    weights: weights("bias"),
                    laid,
                });
            }
            all.push(Stored {
                name,
                shape: vec![experts.count, inn, parts.len() * out],
                weights: weights("weight"),
                laid,
            });
        }
    }
    all
}

impl Stored {
    /// The same in blocks of MXFP4: the tensor of the blocks, and that of their exponents.
    pub(crate) fn in_blocks(&self, parts: usize) -> [Self; 2] {
        let [count, inn, rows] = [0, 1, 2].map(|i| self.shape.get(i).copied().unwrap_or(0));
        let shape = vec![count, rows, inn / VALUES];
        [
            Self {
                name: format!("{}{BLOCKS}", self.name),
                shape: [shape.as_slice(), &[16]].concat(),
                laid: Laid::Blocks(parts),
                ..self.clone()
            },
            Self {
                name: format!("{}{EXPONENTS}", self.name),
                shape,
                laid: Laid::Exponents(parts),
                ..self.clone()
            },
        ]
    }
}
