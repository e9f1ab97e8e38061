//! Where the weights of a model lie in its GGUF file.
use super::keys::Keys;
use super::parse::{Gguf, Tensor};
use super::{arrangement, names, predictors, rope, xielu};
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
        let shape = match is_taps && tensor.shape == [shape[0], shape[2]] {
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
    let keys = Keys::new(gguf, facts.gguf.architecture);
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
