//! Rotary embedding tables, in f32 whatever the model's dtype.
use candle_core::{DType, Device, Error, Result, Tensor};
use lora_checkpoint::{ModelConfig, Rope, RotaryPairs};
use std::collections::BTreeMap;

/// The tables of a pack: for each of the config's rotary embeddings and variants (see [`Rope::variant`]) that occur.
#[derive(Debug)]
pub(super) struct RopeTables {
    tables: BTreeMap<(usize, usize), RopeTable>,
    ropes: Vec<Rope>,
}

impl RopeTables {
    /// Tables for sequences of these lengths.
    pub(super) fn new(
        config: &ModelConfig,
        lengths: impl Iterator<Item = usize>,
        device: &Device,
    ) -> Result<Self> {
        let mut longest: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for length in lengths {
            for (i, rope) in config.ropes.iter().enumerate() {
                let most = longest.entry((i, rope.variant(length))).or_default();
                *most = length.max(*most);
            }
        }
        let table = |(key, length): ((usize, usize), usize)| {
            Ok((
                key,
                RopeTable::new(&config.ropes[key.0], key.1, length, device)?,
            ))
        };
        Ok(Self {
            tables: longest.into_iter().map(table).collect::<Result<_>>()?,
            ropes: config.ropes.clone(),
        })
    }

    /// The table of one rotary embedding for sequences of one length.
    pub(super) fn of(&self, rope: usize, length: usize) -> Result<&RopeTable> {
        let table = self
            .ropes
            .get(rope)
            .and_then(|r| self.tables.get(&(rope, r.variant(length))));
        table.ok_or_else(|| Error::Msg(format!("no rotary table {rope} for length {length}")))
    }
}

/// cos and sin of every (position, frequency), each (T, pairs), with the attention factor.
#[derive(Debug, Clone)]
pub(super) struct RopeTable {
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    /// Tables for positions `0..length`.
    fn new(rope: &Rope, variant: usize, length: usize, device: &Device) -> Result<Self> {
        let frequencies = rope.inverse_frequencies(variant);
        let pairs = frequencies.len();
        let positions = Tensor::arange(0u32, length as u32, device)?
            .to_dtype(DType::F32)?
            .reshape((length, 1))?;
        let angles = positions.matmul(&Tensor::from_vec(frequencies, (1, pairs), device)?)?; // (T, pairs)
        let factors = (0..length).map(|position| rope.factor(position) as f32);
        let factors = Tensor::from_vec(factors.collect::<Vec<_>>(), (length, 1), device)?;
        Ok(Self {
            cos: angles.cos()?.broadcast_mul(&factors)?,
            sin: angles.sin()?.broadcast_mul(&factors)?,
        })
    }

    /// Rotates (B, heads, T, d) by position; features behind the pairs stay.
    pub(super) fn apply(&self, x: &Tensor, layout: RotaryPairs) -> Result<Tensor> {
        let (_, _, length, width) = x.dims4()?;
        let (cos, sin) = (
            self.cos.narrow(0, 0, length)?,
            self.sin.narrow(0, 0, length)?,
        );
        let pairs = cos.dim(1)?;
        let rotated = x.narrow(3, 0, 2 * pairs)?;
        let of = |which: usize| match layout {
            RotaryPairs::Halves => rotated.narrow(3, which * pairs, pairs),
            RotaryPairs::Neighbours => {
                let (batch, heads, length, _) = rotated.dims4()?;
                let apart = rotated.reshape((batch, heads, length, pairs, 2))?;
                apart.narrow(4, which, 1)?.squeeze(4)
            }
        };
        let (first, second) = (of(0)?, of(1)?);
        let rotated_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
        let rotated_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
        let rotated = match layout {
            RotaryPairs::Halves => Tensor::cat(&[rotated_first, rotated_second], 3)?,
            RotaryPairs::Neighbours => {
                Tensor::stack(&[rotated_first, rotated_second], 4)?.flatten_from(3)?
            }
        };
        match width - 2 * pairs {
            0 => Ok(rotated),
            rest => Tensor::cat(&[rotated, x.narrow(3, 2 * pairs, rest)?], 3),
        }
    }
}
