//! Rotary tables of the rows of one pass, one for each of the config's rotary embeddings.
use crate::fused::batch::Batch;
use lora_checkpoint::{ModelConfig, Rope, RotaryPairs};
use lora_gpu::{Dtype, Error, Gpu, Pairs, Rotary, Tensor};
use std::collections::BTreeMap;

/// By rotary embedding of the config.
#[derive(Debug)]
pub(super) struct Rotations(Vec<Rotation>);

/// Positions' cosines and sines, and each row's place among them.
#[derive(Debug)]
struct Rotation {
    table: Table,
    /// (T).
    rows: Tensor,
}

/// Cosines and sines of some variants of a rotary embedding (see [`Rope::variant`]).
#[derive(Debug, Clone)]
struct Table {
    /// (N, 2·half).
    values: Tensor,
    half: usize,
    /// Positions of each variant, and where its part begins.
    variants: BTreeMap<usize, (usize, usize)>,
}

/// Values of the tables of a batch whose longest sequence has this length.
pub(super) fn values(config: &ModelConfig, length: usize) -> usize {
    let positions = length.next_multiple_of(POSITIONS);
    let pairs = |rope: &Rope| rope.inverse_frequencies(rope.variant(length)).len();
    2 * positions * config.ropes.iter().map(pairs).sum::<usize>()
}

impl Rotations {
    /// The rotary embedding `rope` of a config, for heads of this width.
    pub(super) fn get(&self, rope: usize, config: &ModelConfig, head_dim: usize) -> Rotary<'_> {
        let Rotation { table, rows } = &self.0[rope];
        Rotary {
            table: &table.values,
            half: table.half,
            pairs: match config.facts().rotary_pairs {
                RotaryPairs::Halves => Pairs::Halves,
                RotaryPairs::Neighbours => Pairs::Neighbours,
            },
            rows,
            head_dim,
        }
    }
}

/// Tables that are kept between passes, by rotary embedding of the config.
#[derive(Debug)]
pub(super) struct Tables(Vec<Option<Table>>);

/// Positions are rounded up to a multiple of this many, so that a text can grow.
const POSITIONS: usize = 256;

impl Tables {
    pub(super) fn new(config: &ModelConfig) -> Self {
        Self(config.ropes.iter().map(|_| None).collect())
    }

    /// Those of a batch's rows.
    pub(super) fn rotations(
        &mut self,
        gpu: &Gpu,
        config: &ModelConfig,
        batch: &Batch,
    ) -> Result<Rotations, Error> {
        let mut all = Vec::new();
        for (rope, held) in config.ropes.iter().zip(&mut self.0) {
            // Positions that each variant is asked for.
            let mut longest: BTreeMap<usize, usize> = BTreeMap::new();
            for &length in &batch.lengths {
                let most = longest.entry(rope.variant(length)).or_default();
                *most = length.max(*most);
            }
            let serves = |table: &Table| {
                longest.iter().all(|(variant, length)| {
                    let own = table.variants.get(variant);
                    own.is_some_and(|(positions, _)| positions >= length)
                })
            };
            let table = match held.take().filter(serves) {
                Some(table) => table,
                None => Table::of(gpu, rope, &longest)?,
            };
            *held = Some(table.clone());
            let rows = table.rows(rope, batch);
            all.push(Rotation {
                rows: gpu.uploaded(Dtype::U32, &rows)?,
                table,
            });
        }
        Ok(Rotations(all))
    }
}

impl Table {
    fn of(gpu: &Gpu, rope: &Rope, longest: &BTreeMap<usize, usize>) -> Result<Self, Error> {
        let mut values = Vec::new();
        let mut variants = BTreeMap::new();
        let (mut half, mut begin) = (0, 0);
        for (&variant, &length) in longest {
            let positions = length.next_multiple_of(POSITIONS);
            let frequencies = rope.inverse_frequencies(variant);
            half = frequencies.len();
            for position in 0..positions {
                push(&mut values, &frequencies, rope.factor(position), position);
            }
            variants.insert(variant, (positions, begin));
            begin += positions;
        }
        Ok(Self {
            values: gpu.uploaded(Dtype::F32, &values)?,
            half,
            variants,
        })
    }

    /// The place of each of a batch's rows.
    fn rows(&self, rope: &Rope, batch: &Batch) -> Vec<u32> {
        let mut rows = vec![0u32; batch.tokens()];
        for (segment, &length) in batch.layout.segments().iter().zip(&batch.lengths) {
            let own = self.variants.get(&rope.variant(length));
            let begin = own.map_or(0, |(_, begin)| *begin);
            let own = segment.query_start..segment.query_start + segment.queries;
            let positions = &batch.positions[own.clone()];
            for (row, &position) in rows[own].iter_mut().zip(positions) {
                *row = (begin + position as usize) as u32;
            }
        }
        rows
    }
}

/// Cosines and sines of one position: the angle is rounded to f32 first, as transformers computes it.
fn push(table: &mut Vec<f32>, frequencies: &[f32], factor: f64, position: usize) {
    let angles = || frequencies.iter().map(|&f| f64::from(position as f32 * f));
    let factor = factor as f32;
    table.extend(angles().map(|angle| (angle.cos() as f32) * factor));
    table.extend(angles().map(|angle| (angle.sin() as f32) * factor));
}
