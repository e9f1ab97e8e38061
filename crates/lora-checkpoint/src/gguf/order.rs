//! What others ask of a weight in GGUF: its name, and the order of its rows.
use super::folded::{Folded, folded};
use super::names;
use crate::families::{DeltaPart, MambaPart};
use crate::order::{Order, Tiled};
use crate::weights::Part;
use crate::{ModelConfig, Projection};
use std::ops::Range;

/// llama.cpp's name of a weight of a model: `model.layers.0.self_attn.q_proj.weight` → `blk.0.attn_q.weight`. One that lies in
/// two tensors has none (see [`tensors_of`]).
pub fn tensor_name(config: &ModelConfig, hugging_face_name: &str) -> Option<String> {
    let part = part(config, hugging_face_name)?;
    match halves(config, part) {
        Some(_) => None,
        None => Some(names::tensor(config.facts(), part)),
    }
}

/// llama.cpp's names of the tensors in which a weight's rows lie, and which rows those are: one, or gate's and up's.
pub fn tensors_of(
    config: &ModelConfig,
    hugging_face_name: &str,
) -> Option<Vec<(String, Range<usize>)>> {
    let (part, _, shape) = found(config, hugging_face_name)?;
    Some(match halves(config, part) {
        Some(names) => {
            let each = shape[0] / 2;
            let rows = [0..each, each..2 * each];
            names.into_iter().zip(rows).collect()
        }
        None => vec![(names::tensor(config.facts(), part), 0..shape[0])],
    })
}

/// The names of the tensors of gate and of up, of a part that has both in one and a family that has them apart in GGUF.
pub(crate) fn halves(config: &ModelConfig, part: Part) -> Option<[String; 2]> {
    let (layer, of): (_, fn(usize, Projection) -> Part) = match part {
        Part::Linear(layer, Projection::GateUp) => (layer, Part::Linear),
        Part::Shared(layer, Projection::GateUp) => (layer, Part::Shared),
        _ => return None,
    };
    let own = [Projection::Gate, Projection::Up].map(|half| of(layer, half));
    let apart = config.facts().gguf.gate_up_apart;
    apart.then(|| own.map(|half| names::tensor(config.facts(), half)))
}

fn found(config: &ModelConfig, hugging_face_name: &str) -> Option<(Part, String, Vec<usize>)> {
    let mut parts = config.parts().into_iter();
    parts.find(|(_, name, _)| name == hugging_face_name)
}

fn part(config: &ModelConfig, hugging_face_name: &str) -> Option<Part> {
    found(config, hugging_face_name).map(|(part, ..)| part)
}

/// Whether llama.cpp applies an adapter to a weight: not to the projection of the embedding to the layers' inputs, which its graph
/// multiplies without.
pub fn applies_lora(config: &ModelConfig, hugging_face_name: &str) -> bool {
    let found = part(config, hugging_face_name);
    !matches!(found, Some(Part::Linear(_, Projection::PerLayerModel)))
}

/// llama.cpp's `general.architecture` of a model.
pub fn architecture(config: &ModelConfig) -> &'static str {
    let own = &config.facts().gguf;
    match own.stateless {
        Some([dense, mixture]) if !config.is_recurrent() => match config.experts {
            None => dense,
            Some(_) => mixture,
        },
        _ => own.architecture,
    }
}

/// How GGUF has the values of a weight: in which order, and made of what.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Arrangement {
    /// Of rows; of the values of a vector.
    pub(crate) rows: Option<Order>,
    pub(crate) columns: Option<Order>,
    /// What is added: norms are stored as they are multiplied.
    pub(crate) offset: f32,
    /// −eˣ is stored for x.
    pub(crate) is_rate: bool,
}

/// How GGUF has a part of a model.
pub(crate) fn arrangement(config: &ModelConfig, part: Part) -> Arrangement {
    let facts = config.facts();
    let rows = |order| Arrangement {
        rows: order,
        ..Arrangement::default()
    };
    // Heads of a recurrent layer, of so many rows each.
    let tiled = |before: usize, width: usize| {
        let delta = config.delta.filter(|d| d.key_heads != d.value_heads)?;
        Some(Order::Tiled(Tiled {
            before,
            key_heads: delta.key_heads,
            group: delta.value_heads / delta.key_heads,
            width,
        }))
    };
    let (keys, value) = config
        .delta
        .map_or((0, 0), |delta| (2 * delta.keys(), delta.value_dim));
    match part {
        _ if facts.gguf.permuted && names::is_query_or_key(part) => {
            rows(Some(Order::Interleaved {
                width: config.head_dim,
            }))
        }
        Part::Norm(..) | Part::FinalNorm => Arrangement {
            offset: facts.norm_offset,
            ..Arrangement::default()
        },
        Part::Linear(_, Projection::DeltaQkv) | Part::Delta(_, DeltaPart::Convolution) => {
            rows(tiled(keys, value))
        }
        Part::Linear(_, Projection::DeltaZ) => rows(tiled(0, value)),
        Part::Linear(_, Projection::DeltaB | Projection::DeltaA)
        | Part::Delta(_, DeltaPart::StepBias) => rows(tiled(0, 1)),
        Part::Delta(_, DeltaPart::DecayLog) => Arrangement {
            is_rate: true,
            ..rows(tiled(0, 1))
        },
        Part::Mamba(_, MambaPart::DecayLog) => Arrangement {
            is_rate: true,
            ..Arrangement::default()
        },
        Part::Linear(_, Projection::DeltaOut) => Arrangement {
            columns: tiled(0, value),
            ..Arrangement::default()
        },
        _ => Arrangement::default(),
    }
}

/// Rows of a matrix with as many rows as the named weight, as GGUF has them. In some architectures q and k are permuted within each
/// head, or heads that share keys are, all others stay where they are; in some the model's factors are multiplied into them.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn rows_in_gguf(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
) -> Vec<f32> {
    let order = of_name(config, hugging_face_name).rows;
    let mut rows = values.to_vec();
    if let Some(own) = folded_of(config, hugging_face_name) {
        own.multiply(0, &mut rows, columns);
    }
    reordered(&rows, columns, |row| {
        order.map_or(row, |o| o.hugging_face(row))
    })
}

/// The way back: rows as transformers has them, from GGUF's.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn rows_from_gguf(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
) -> Vec<f32> {
    let order = of_name(config, hugging_face_name).rows;
    let mut rows = reordered(values, columns, |row| order.map_or(row, |o| o.stored(row)));
    if let Some(own) = folded_of(config, hugging_face_name) {
        own.divide(0, &mut rows, columns);
    }
    rows
}

/// The names of the weights that a GGUF file of a model has, in the order of the forward pass: the model's own, and the head of one
/// whose embedding and head are one weight with different factors.
pub fn weight_names(config: &ModelConfig) -> Vec<String> {
    let held = config.folded().weights().into_iter();
    held.map(|(name, _)| name).collect()
}

fn folded_of(config: &ModelConfig, hugging_face_name: &str) -> Option<Folded> {
    part(config, hugging_face_name).and_then(|part| folded(config, part))
}

/// Rows of values for each column of the named weight, (rows, columns), in the order that GGUF has these columns.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn permute_columns(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
) -> Vec<f32> {
    let order = of_name(config, hugging_face_name).columns;
    let source = |place| order.map_or(place, |o: Order| o.hugging_face(place));
    let rows = values.chunks_exact(columns);
    rows.flat_map(|row| reordered(row, 1, source)).collect()
}

/// The way back.
///
/// # Panics
/// If `values` is no whole number of rows of `columns`.
pub fn restore_columns(
    config: &ModelConfig,
    hugging_face_name: &str,
    values: &[f32],
    columns: usize,
) -> Vec<f32> {
    let order = of_name(config, hugging_face_name).columns;
    let source = |place| order.map_or(place, |o: Order| o.stored(place));
    let rows = values.chunks_exact(columns);
    rows.flat_map(|row| reordered(row, 1, source)).collect()
}

fn of_name(config: &ModelConfig, hugging_face_name: &str) -> Arrangement {
    let part = part(config, hugging_face_name);
    part.map_or(Arrangement::default(), |part| arrangement(config, part))
}

fn reordered(values: &[f32], columns: usize, source: impl Fn(usize) -> usize) -> Vec<f32> {
    assert_eq!(
        values.len() % columns,
        0,
        "{} values are no whole number of rows of {columns}",
        values.len()
    );
    let row = |row: usize| &values[source(row) * columns..][..columns];
    (0..values.len() / columns).flat_map(row).copied().collect()
}
