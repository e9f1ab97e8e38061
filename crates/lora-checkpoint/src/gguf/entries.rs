//! Where the weights of a model lie in its GGUF file.
use super::keys::Keys;
use super::parse::{Gguf, Tensor};
use super::{architecture, arrangement, halves, names, predictors, rope, xielu};
use crate::error::Fault;
use crate::expert_rows::rows_of;
use crate::families::DeltaPart;
use crate::view::Entry;
use crate::weights::Part;
use crate::{ModelConfig, StorageDtype};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Where the weights lie in a GGUF file, under their Hugging Face names.
pub(crate) fn entries(config: &ModelConfig, gguf: &Gguf) -> Result<BTreeMap<String, Entry>, Fault> {
    let facts = config.facts();
    let mut unknown: BTreeSet<&str> = gguf.tensors.keys().map(String::as_str).collect();
    rope::tensors()
        .iter()
        .for_each(|name| _ = unknown.remove(name));
    let mut entries = BTreeMap::new();
    for (part, name, shape) in config.parts() {
        if let Part::Xielu(layer, number) = part {
            let place = xielu::place(gguf, number, layer, config.num_hidden_layers);
            entries.extend(place.map(|range| (name, number_at(range, shape))));
            continue;
        }
        if let Some(names) = halves(config, part) {
            let names = names.each_ref().map(String::as_str);
            let own = names.map(|name| gguf.tensors.get(name));
            names.iter().for_each(|name| _ = unknown.remove(*name));
            if let [Some(gate), Some(up)] = own {
                entries.insert(name, both(names, gate, up)?);
            }
            continue;
        }
        let stored = names::tensor(facts, part);
        let Some(tensor) = gguf.tensors.get(&stored) else {
            continue;
        };
        unknown.remove(stored.as_str());
        let own = arrangement(config, part);
        let permuted = own.rows;
        if permuted.is_some() && tensor.shape.len() == 1 && tensor.dtype.unit().0 != 1 {
            return Err(Fault::new(format!(
                "tensor {stored}: a quantised bias can't be read"
            )));
        }
        if let Part::Expert(layer, expert, _) | Part::ExpertBias(layer, expert, _) = part {
            let own = one_of(config, tensor, (layer, expert), &shape);
            let own = own.map_err(|fault| fault.at(format_args!("tensor {stored}")))?;
            entries.insert(name, own);
            continue;
        }
        let (range, dtype) = (tensor.range.clone(), tensor.dtype);
        // The convolution's middle dimension, of 1, is not stored.
        let is_taps = matches!(
            part,
            Part::Delta(_, DeltaPart::Convolution) | Part::ShortConv(_)
        );
        let of_mamba = match (part, config.mamba) {
            (Part::Mamba(_, own), Some(mamba)) => own.shape_in_gguf(mamba),
            _ => None,
        };
        let is_own = is_taps && tensor.shape == [shape[0], shape[2]];
        let shape = match is_own || of_mamba.is_some_and(|own| own == tensor.shape) {
            true => shape,
            false => tensor.shape.clone(),
        };
        entries.insert(
            name,
            Entry {
                permuted,
                columns: own.columns,
                offset: own.offset,
                is_rate: own.is_rate,
                ..Entry::plain(tensor.file, range, shape, dtype)
            },
        );
    }
    let keys = Keys::new(gguf, architecture(config));
    let is_read = |name: &&str| !predictors::has(name, &keys, facts, config.num_hidden_layers);
    unknown.retain(is_read);
    // Keys and values of layers that read others' stay unread.
    let of_sharing = |layer: usize| {
        ["attn_k", "attn_v", "attn_k_norm"].map(|name| format!("blk.{layer}.{name}.weight"))
    };
    for name in (config.first_sharing()..config.num_hidden_layers).flat_map(of_sharing) {
        unknown.remove(name.as_str());
    }
    match unknown.first() {
        None => Ok(entries),
        Some(name) => Err(Fault::new(format!("unknown tensor {name}"))),
    }
}

/// Gate and up as one matrix, though they are two tensors.
fn both(names: [&str; 2], gate: &Tensor, up: &Tensor) -> Result<Entry, Fault> {
    let [first, second] = names;
    if gate.shape != up.shape || gate.shape.len() != 2 {
        return Err(Fault::new(format!(
            "tensor {first} has shape {:?}, {second} has {:?}",
            gate.shape, up.shape
        )));
    }
    if gate.dtype != up.dtype {
        return Err(Fault::new(format!(
            "tensor {first} is {:?}, {second} is {:?}: gate and up of different types are not supported",
            gate.dtype, up.dtype
        ))
        .hint("use a file in which both have one type"));
    }
    let shape = vec![2 * gate.shape[0], gate.shape[1]];
    Ok(Entry {
        rest: Some((up.file, up.range.clone())),
        ..Entry::plain(gate.file, gate.range.clone(), shape, gate.dtype)
    })
}

/// One of a layer's experts, a matrix or a bias of this shape, in the tensor that holds all of them.
fn one_of(
    config: &ModelConfig,
    tensor: &Tensor,
    (layer, expert): (usize, usize),
    shape: &[usize],
) -> Result<Entry, Fault> {
    let count = config.experts_of(layer).map_or(0, |experts| experts.count);
    let expected = [&[count], shape].concat();
    if tensor.shape != expected {
        return Err(Fault::new(format!(
            "its shape is {:?}, the metadata call for {expected:?}",
            tensor.shape
        )));
    }
    let whole = Entry::plain(tensor.file, tensor.range.clone(), expected, tensor.dtype);
    // A bias is one row of all biases.
    let rows = match shape.len() {
        1 => 1,
        _ => shape[0],
    };
    Ok(Entry {
        shape: shape.to_vec(),
        ..rows_of(&whole, expert * rows..(expert + 1) * rows)
    })
}

/// A number that lies among the metadata.
fn number_at(range: Range<usize>, shape: Vec<usize>) -> Entry {
    Entry::plain(0, range, shape, StorageDtype::F32)
}
