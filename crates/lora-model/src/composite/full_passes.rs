//! Losses and gradients of all weights: a pack in chunks, side by side.
use super::balance::{Counted, Sums};
use super::full::FullModel;
use super::graph::{Graph, Weights};
use super::loss::{Ask, Supervised};
use super::route::{backward, select};
use crate::route::check_balance;
use crate::{Error, Packed, Scales, SequenceLoss};
use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Tokens in one graph, at least: small enough for its values to stay in a core's cache. A constant, so that the result does
/// not depend on the number of threads. (The chunks already keep all threads busy: candle's own pool beside them, that is a
/// process without CANDLE_NUM_THREADS=1, makes a step seven times as long.)
const CHUNK_TOKENS: usize = 256;

/// Losses of a pack, and the scalars to differentiate: theirs, and the pack's part of the balance of experts.
type Forward = (Vec<SequenceLoss>, Option<Tensor>, Option<Tensor>);

impl FullModel {
    /// Loss of each sequence.
    pub fn losses(&self, packed: &Packed) -> Result<Vec<SequenceLoss>, Error> {
        let weights =
            self.weights(|values, shape| Tensor::from_slice(values, shape, &Device::Cpu))?;
        let losses = chunks(packed)
            .into_par_iter()
            .map(|chunk| Ok(self.forward(&weights, &chunk, Ask::Losses, None)?.0));
        Ok(losses.collect::<Result<Vec<_>, Error>>()?.concat())
    }

    /// Loss of each sequence; adds `scale` · d(Σ nll)/d(params) to `gradients`.
    pub fn gradients(
        &self,
        packed: &Packed,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error> {
        Ok(self.learn(packed, (scale, None), gradients)?.0)
    }

    /// The same beside the loss for the balance of experts, over all tokens of the pack; gives that, too, not yet multiplied.
    ///
    /// # Errors
    /// On a model without experts.
    pub fn balanced_gradients(
        &self,
        packed: &Packed,
        scales: Scales,
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        check_balance(&self.config)?;
        let weights = self.weights(|v, shape| Tensor::from_slice(v, shape, &Device::Cpu))?;
        let counted = chunks(packed)
            .into_par_iter()
            .map(|chunk| self.count(&weights, &chunk));
        let Some(counted) = Counted::sum(counted.collect::<Result<Vec<_>, Error>>()?) else {
            return Ok((Vec::new(), 0.0));
        };
        let balance = Some((scales.balance, &counted));
        self.learn(packed, (scales.nll, balance), gradients)
    }

    /// Where the tokens of a chunk go.
    fn count(&self, weights: &Weights, packed: &Packed) -> Result<Counted, Error> {
        packed.check_vocabulary(self.config.vocab_size)?;
        let graph = Graph::new(&self.config, weights, None, packed, &Device::Cpu)?;
        let graph = graph.with_routers(true);
        let ids = Tensor::from_slice(&packed.input_ids, packed.tokens(), &Device::Cpu)?;
        graph.hidden(&ids)?;
        Ok(Counted::of(&Sums::of(&graph.routed())?)?)
    }

    /// Losses and gradients; of the balance of experts, too, if it has a weight and all tokens have been counted.
    fn learn(
        &self,
        packed: &Packed,
        (scale, balance): (f32, Option<(f32, &Counted)>),
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        let weights =
            self.weights(|v, shape| Ok(Var::from_slice(v, shape, &Device::Cpu)?.into_inner()))?;
        let one = |chunk: Packed| {
            let counted = balance.map(|(_, counted)| counted);
            let (losses, scalar, of_balance) =
                self.forward(&weights, &chunk, Ask::Gradients, counted)?;
            let mut part = vec![0f32; self.params.len()];
            let variables = || {
                let tensors = self.tensors.iter();
                tensors.map(|(name, _, place)| (&weights[name], place.clone()))
            };
            backward(scalar, variables(), scale, &mut part)?;
            let mut value = 0.0;
            if let (Some(loss), Some((weight, _))) = (of_balance, balance) {
                value = f64::from(loss.to_scalar::<f32>()?);
                backward(Some(loss), variables(), weight, &mut part)?;
            }
            Ok((losses, part, value))
        };
        let mut losses = Vec::with_capacity(packed.sequences());
        let mut of_balance = 0.0;
        // A few chunks at a time, to bound memory; their gradients are summed in the pack's order.
        for group in chunks(packed).chunks(8) {
            let parts = group
                .par_iter()
                .map(|chunk| one(chunk.clone()))
                .collect::<Result<Vec<_>, Error>>()?;
            for (some, part, value) in parts {
                losses.extend(some);
                of_balance += value;
                gradients
                    .iter_mut()
                    .zip(part)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        Ok((losses, of_balance))
    }

    fn weights(
        &self,
        tensor: impl Fn(&[f32], &[usize]) -> candle_core::Result<Tensor>,
    ) -> Result<Weights, Error> {
        let named = self.tensors.iter().map(|(name, shape, place)| {
            Ok((name.clone(), tensor(&self.params[place.clone()], shape)?))
        });
        Ok(named.collect::<candle_core::Result<BTreeMap<_, _>>>()?)
    }

    /// Losses of a pack, and the scalars to differentiate: theirs, if asked for and if any row is supervised, and the pack's
    /// part of the balance of all that were counted.
    fn forward(
        &self,
        weights: &Weights,
        packed: &Packed,
        ask: Ask,
        counted: Option<&Counted>,
    ) -> Result<Forward, Error> {
        packed.check_vocabulary(self.config.vocab_size)?;
        let supervised = Supervised::of(packed);
        let nothing = vec![SequenceLoss::default(); packed.sequences()];
        if packed.tokens() == 0 || (counted.is_none() && supervised.rows.is_empty()) {
            return Ok((nothing, None, None));
        }
        let graph = Graph::new(&self.config, weights, None, packed, &Device::Cpu)?;
        let graph = graph.with_routers(counted.is_some());
        let ids = Tensor::from_slice(&packed.input_ids, packed.tokens(), &Device::Cpu)?;
        let hidden = graph.hidden(&ids)?;
        let (losses, scalar) = match supervised.rows.is_empty() {
            true => (nothing, None),
            false => {
                let logits = graph.head(&select(&hidden, &supervised)?)?;
                supervised.losses(&logits, packed.sequences(), ask)?
            }
        };
        let of_balance = match counted {
            Some(counted) => Some(counted.part(&Sums::of(&graph.routed())?)?),
            None => None,
        };
        Ok((losses, scalar, of_balance))
    }
}

/// Splits a pack between sequences into packs of at least [`CHUNK_TOKENS`] tokens (the last may be shorter).
fn chunks(packed: &Packed) -> Vec<Packed> {
    let mut chunks: Vec<Packed> = Vec::new();
    for bounds in packed.starts.windows(2) {
        let (ids, labels) = (
            &packed.input_ids[bounds[0]..bounds[1]],
            &packed.labels[bounds[0]..bounds[1]],
        );
        let full = chunks.last().is_none_or(|c| c.tokens() >= CHUNK_TOKENS);
        if full {
            chunks.push(Packed {
                starts: vec![0],
                ..Packed::default()
            });
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.input_ids.extend_from_slice(ids);
            chunk.labels.extend_from_slice(labels);
            chunk.starts.push(chunk.input_ids.len());
        }
    }
    chunks
}
