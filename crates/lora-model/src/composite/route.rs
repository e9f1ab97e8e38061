//! [`Composite`]: a base with an adapter through the candle graph.
use super::balance::Sums;
use super::graph::{Graph, Weights};
use super::loss::{Ask, Supervised};
use super::patches::Patches;
use crate::route::check_balance;
use crate::{Base, Dropout, Error, Packed, Route, Scales, SequenceLoss};
use candle_core::{Device, Tensor, Var};
use lora_checkpoint::ModelConfig;
use lora_core::Adapter;
use std::ops::Range;

/// The decoder as a candle graph. Holds an f32 copy of all weights.
#[derive(Debug)]
pub struct Composite {
    config: ModelConfig,
    weights: Weights,
    device: Device,
}

impl Composite {
    /// Reads the base's weights into f32 tensors on the CPU.
    pub fn new(base: &Base) -> Result<Self, Error> {
        Self::on(base, Device::Cpu)
    }

    /// Reads the base's weights into f32 tensors on a device.
    pub fn on(base: &Base, device: Device) -> Result<Self, Error> {
        let checkpoint = base.checkpoint();
        let mut weights = Weights::new();
        for name in checkpoint.tensor_names() {
            let view = checkpoint.tensor(&name)?;
            weights.insert(
                name,
                Tensor::from_vec(view.to_f32(), view.shape(), &device)?,
            );
        }
        Ok(Self {
            config: checkpoint.config().clone(),
            weights,
            device,
        })
    }

    /// An adapter's tensors as constants.
    fn frozen(&self, adapter: Option<&Adapter>) -> Result<Option<Patches>, Error> {
        let patches = |a| {
            Patches::new(a, None, |t, values| {
                Tensor::from_slice(values, t.shape.as_slice(), &self.device)
            })
        };
        Ok(adapter.map(patches).transpose()?)
    }

    /// Hidden states (T, H) of a pack, or None if it has no rows; and the graph that made them.
    fn graph<'a>(
        &'a self,
        patches: Option<&'a Patches>,
        packed: &Packed,
    ) -> Result<(Graph<'a>, Tensor), Error> {
        let graph = Graph::new(&self.config, &self.weights, patches, packed, &self.device)?;
        let ids = Tensor::from_slice(&packed.input_ids, packed.tokens(), &self.device)?;
        let hidden = graph.hidden(&ids)?;
        Ok((graph, hidden))
    }
}

impl Route for Composite {
    fn logits(&mut self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<f32>, Error> {
        packed.check_vocabulary(self.config.vocab_size)?;
        if packed.tokens() == 0 {
            return Ok(Vec::new());
        }
        let patches = self.frozen(adapter)?;
        let (graph, hidden) = self.graph(patches.as_ref(), packed)?;
        Ok(graph.head(&hidden)?.flatten_all()?.to_vec1()?)
    }

    fn losses(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
    ) -> Result<Vec<SequenceLoss>, Error> {
        packed.check_vocabulary(self.config.vocab_size)?;
        let supervised = Supervised::of(packed);
        if supervised.rows.is_empty() {
            return Ok(vec![SequenceLoss::default(); packed.sequences()]);
        }
        let patches = self.frozen(adapter)?;
        let (graph, hidden) = self.graph(patches.as_ref(), packed)?;
        let logits = graph.head(&select(&hidden, &supervised)?)?;
        Ok(supervised
            .losses(&logits, packed.sequences(), Ask::Losses)?
            .0)
    }

    fn gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error> {
        let scales = (scale, None);
        Ok(self.learn(adapter, packed, dropout, scales, gradients)?.0)
    }

    fn balanced_gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scales: Scales,
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        check_balance(&self.config)?;
        let scales = (scales.nll, Some(scales.balance));
        self.learn(adapter, packed, dropout, scales, gradients)
    }
}

impl Composite {
    /// Losses and gradients of a pack; of the balance of experts, too, if it has a weight.
    fn learn(
        &self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        (scale, balance): (f32, Option<f32>),
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        packed.check_vocabulary(self.config.vocab_size)?;
        let supervised = Supervised::of(packed);
        if packed.tokens() == 0 || (balance.is_none() && supervised.rows.is_empty()) {
            return Ok((vec![SequenceLoss::default(); packed.sequences()], 0.0));
        }
        let mut variables: Vec<Tensor> = Vec::new();
        let patches = Patches::new(adapter, dropout, |tensor, values| {
            let variable = Var::from_slice(values, tensor.shape.as_slice(), &self.device)?;
            variables.push(variable.as_tensor().clone());
            Ok(variable.into_inner())
        })?;
        let graph = Graph::new(
            &self.config,
            &self.weights,
            Some(&patches),
            packed,
            &self.device,
        )?;
        let graph = graph.with_routers(balance.is_some());
        let ids = Tensor::from_slice(&packed.input_ids, packed.tokens(), &self.device)?;
        let hidden = graph.hidden(&ids)?;
        let (losses, scalar) = match supervised.rows.is_empty() {
            true => (vec![SequenceLoss::default(); packed.sequences()], None),
            false => {
                let logits = graph.head(&select(&hidden, &supervised)?)?;
                supervised.losses(&logits, packed.sequences(), Ask::Gradients)?
            }
        };
        let places = || adapter.tensors().into_iter().map(|tensor| tensor.range);
        backward(scalar, variables.iter().zip(places()), scale, gradients)?;
        let Some(weight) = balance else {
            return Ok((losses, 0.0));
        };
        let routed = Sums::of(&graph.routed())?;
        let loss = routed.loss(&routed.choices, routed.tokens)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        backward(
            Some(loss),
            variables.iter().zip(places()),
            weight,
            gradients,
        )?;
        Ok((losses, value))
    }
}

/// The supervised rows of the hidden states, (N, H).
pub(super) fn select(hidden: &Tensor, supervised: &Supervised) -> Result<Tensor, Error> {
    let rows = Tensor::from_slice(&supervised.rows, supervised.rows.len(), hidden.device())?;
    Ok(hidden.index_select(&rows, 0)?)
}

/// Adds `scale` · d(scalar)/d(variable) to each variable's place in the flat gradient.
pub(super) fn backward<'a>(
    scalar: Option<Tensor>,
    variables: impl Iterator<Item = (&'a Tensor, Range<usize>)>,
    scale: f32,
    gradients: &mut [f32],
) -> Result<(), Error> {
    let Some(scalar) = scalar else { return Ok(()) };
    let found = scalar.backward()?;
    for (variable, place) in variables {
        let Some(gradient) = found.get(variable) else {
            continue;
        };
        let values = gradient.flatten_all()?.to_vec1::<f32>()?;
        for (sum, value) in gradients[place].iter_mut().zip(values) {
            *sum += scale * value;
        }
    }
    Ok(())
}
