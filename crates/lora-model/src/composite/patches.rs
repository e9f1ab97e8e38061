//! An adapter in the graph: what it adds to a linear layer or an embedding, and the tensors that it puts in the base's place.
use crate::Dropout;
use candle_core::{D, Result, Tensor};
use lora_core::{Adapter, AdapterTensor, TargetedModule};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a module computes beside its frozen weight.
#[derive(Debug)]
struct Patch {
    /// (r, in), or of an embedding (r, V).
    a: Tensor,
    /// (out, r).
    b: Tensor,
    scaling: f64,
    lora_bias: Option<Tensor>,
    magnitude: Option<Tensor>,
    /// A and B that were taken out of the base, constants.
    origin: Option<(Tensor, Tensor)>,
    index: usize,
}

/// What all experts' matrices of a layer compute beside their frozen weights.
#[derive(Debug)]
struct ExpertPatch {
    /// (E, r, in).
    a: Tensor,
    /// (E, out, r).
    b: Tensor,
    scaling: f64,
}

/// An adapter in the graph.
#[derive(Debug)]
pub(super) struct Patches {
    by_path: BTreeMap<String, Patch>,
    of_experts: BTreeMap<String, ExpertPatch>,
    /// By the name of the base's tensor.
    replaced: BTreeMap<String, Tensor>,
    /// Rows of the vocabulary that train, (rows, width), with the modules whose they are and their numbers.
    rows: Vec<(Vec<String>, Vec<usize>, Tensor)>,
    dropout: Option<Dropout>,
}

impl Patches {
    /// `tensor` turns a part of the adapter's parameters into a tensor, tracked or not; it sees them in their order.
    pub(super) fn new(
        adapter: &Adapter,
        dropout: Option<Dropout>,
        mut tensor: impl FnMut(&AdapterTensor, &[f32]) -> Result<Tensor>,
    ) -> Result<Self> {
        let device = candle_core::Device::Cpu;
        let mut made = Vec::new();
        for part in adapter.tensors() {
            made.push(tensor(&part, &adapter.params[part.range.clone()])?);
        }
        let device = made.first().map_or(&device, Tensor::device).clone();
        let mut made = made.into_iter();
        let mut next = || {
            made.next()
                .ok_or_else(|| candle_core::Error::Msg("the adapter lacks a tensor".into()))
        };
        let mut by_path = BTreeMap::new();
        let mut of_experts = BTreeMap::new();
        let dropout = dropout.filter(|d| d.p > 0.0);
        if dropout.is_some() && adapter.config.targets_parameters() {
            let message = "there is no dropout on the parameters of a mixture of experts";
            return Err(candle_core::Error::Msg(message.into()));
        }
        for (index, module) in adapter.modules.iter().enumerate() {
            if let Some(experts) = module.experts() {
                let (rank, out) = (module.rank, module.out_features);
                let patch = ExpertPatch {
                    a: next()?.reshape((experts, rank, module.in_features))?,
                    b: next()?.reshape((experts, out, rank))?,
                    scaling: f64::from(module.scaling),
                };
                of_experts.insert(module.path.clone(), patch);
                continue;
            }
            let origin = adapter.origin_factors(index).map(|(a, b)| {
                let TargetedModule {
                    rank,
                    in_features,
                    out_features,
                    ..
                } = *module;
                let a = Tensor::from_slice(a, (rank, in_features), &device)?;
                Ok::<_, candle_core::Error>((
                    a,
                    Tensor::from_slice(b, (out_features, rank), &device)?,
                ))
            });
            let patch = Patch {
                a: next()?,
                b: next()?,
                scaling: f64::from(module.scaling),
                lora_bias: module.lora_bias.as_ref().map(|_| next()).transpose()?,
                magnitude: module.magnitude.as_ref().map(|_| next()).transpose()?,
                origin: origin.transpose()?,
                index,
            };
            by_path.insert(module.path.clone(), patch);
        }
        let mut replaced = BTreeMap::new();
        for trained in &adapter.trained {
            replaced.insert(trained.tensor.clone(), next()?);
        }
        let mut rows = Vec::new();
        for own in &adapter.rows {
            rows.push((own.paths.clone(), own.rows.clone(), next()?));
        }
        Ok(Self {
            by_path,
            of_experts,
            replaced,
            rows,
            dropout,
        })
    }

    /// The tensor that stands in the place of the base's.
    pub(super) fn replacement(&self, name: &str) -> Option<&Tensor> {
        self.replaced.get(name)
    }

    /// A weight of the vocabulary (V, H) with the rows that train in it, of the modules at which some do.
    pub(super) fn patched(&self, path: &str, weight: &Tensor) -> Result<Option<Tensor>> {
        let found = self
            .rows
            .iter()
            .find(|(paths, ..)| paths.iter().any(|own| own == path));
        let Some((_, rows, own)) = found else {
            return Ok(None);
        };
        let (vocabulary, device) = (weight.dim(0)?, weight.device());
        let mut kept = vec![1f32; vocabulary];
        let mut chosen = vec![0f32; vocabulary * rows.len()];
        for (place, &row) in rows.iter().enumerate() {
            kept[row] = 0.0;
            chosen[row * rows.len() + place] = 1.0;
        }
        let kept = Tensor::from_vec(kept, (vocabulary, 1), device)?;
        let chosen = Tensor::from_vec(chosen, (vocabulary, rows.len()), device)?; // (V, n)
        Ok(Some((weight.broadcast_mul(&kept)? + chosen.matmul(own)?)?))
    }

    /// The output (T, out) of the linear layer at `path` without its bias, if it carries LoRA: x·Wᵀ + s·(d(x)·Aᵀ)·Bᵀ with d the
    /// dropout; with DoRA x·Wᵀ + (g − 1)·d(x)·Wᵀ + g·s·(d(x)·Aᵀ)·Bᵀ, g = m/‖W + s·B·A‖ (PEFT's `DoraLinearVariant`).
    pub(super) fn linear(&self, path: &str, x: &Tensor, weight: &Tensor) -> Result<Option<Tensor>> {
        let Some(patch) = self.by_path.get(path) else {
            return Ok(None);
        };
        let weight = patch.base(weight)?;
        let plain = x.matmul(&weight.t()?)?;
        let dropped = match &self.dropout {
            Some(dropout) => (x * mask(dropout, patch.index, x)?)?,
            None => x.clone(),
        };
        let mut delta = dropped.matmul(&patch.a.t()?)?.matmul(&patch.b.t()?)?; // (T, in) -> (T, r) -> (T, out)
        if let Some(bias) = &patch.lora_bias {
            delta = delta.broadcast_add(bias)?;
        }
        let delta = (delta * patch.scaling)?;
        let Some(gain) = patch.gain(&weight, false)? else {
            return Ok(Some((plain + delta)?));
        };
        let seen = if self.dropout.is_some() {
            dropped.matmul(&weight.t()?)?
        } else {
            plain.clone()
        };
        Ok(Some(
            ((plain - &seen)? + (seen + delta)?.broadcast_mul(&gain)?)?,
        ))
    }

    /// s·x·Aᵀ·Bᵀ (n, rows) with one expert's factors, x (n, in), for some rows of B, if experts' matrices at `path` carry LoRA.
    pub(super) fn expert(
        &self,
        (path, expert): (&str, usize),
        rows: Range<usize>,
        x: &Tensor,
    ) -> Result<Option<Tensor>> {
        let Some(patch) = self.of_experts.get(path) else {
            return Ok(None);
        };
        let a = patch.a.get(expert)?; // (r, in)
        let b = patch.b.get(expert)?.narrow(0, rows.start, rows.len())?; // (rows, r)
        let delta = x.matmul(&a.t()?)?.matmul(&b.t()?)?;
        Ok(Some((delta * patch.scaling)?))
    }

    /// The rows `ids` of the embedding at `path`, (T, H), if it carries LoRA: g·(E[id] + s·B·A[:, id]), g = 1 without DoRA.
    pub(super) fn embedding(
        &self,
        path: &str,
        ids: &Tensor,
        weight: &Tensor,
    ) -> Result<Option<Tensor>> {
        let Some(patch) = self.by_path.get(path) else {
            return Ok(None);
        };
        let inner = patch.a.t()?.contiguous()?.index_select(ids, 0)?; // (T, r)
        let rows =
            (weight.index_select(ids, 0)? + (inner.matmul(&patch.b.t()?)? * patch.scaling)?)?;
        match patch.gain(weight, true)? {
            Some(gain) => Ok(Some(rows.broadcast_mul(&gain)?)),
            None => Ok(Some(rows)),
        }
    }
}

impl Patch {
    /// The base's weight, or what is left of it.
    fn base(&self, weight: &Tensor) -> Result<Tensor> {
        match &self.origin {
            Some((a, b)) => weight - (b.matmul(a)? * self.scaling)?,
            None => Ok(weight.clone()),
        }
    }

    /// m/‖W + s·B·A‖ of each output, (out); the norm is a constant of the graph.
    fn gain(&self, weight: &Tensor, is_embedding: bool) -> Result<Option<Tensor>> {
        let Some(magnitude) = &self.magnitude else {
            return Ok(None);
        };
        let delta = (self.b.detach().matmul(&self.a.detach())? * self.scaling)?;
        let delta = if is_embedding { delta.t()? } else { delta };
        let whole = (weight.detach() + delta)?.sqr()?;
        let squares = if is_embedding {
            whole.sum(0)?
        } else {
            whole.sum(D::Minus1)?
        };
        Ok(Some((magnitude / squares.sqrt()?)?))
    }
}

/// The dropout mask of a module's input (T, in): 0, or 1/(1 − p).
fn mask(dropout: &Dropout, module: usize, x: &Tensor) -> Result<Tensor> {
    let kept = 1.0 / (1.0 - dropout.p);
    let keep =
        |i| lora_random::dropout_keep(dropout.seed, dropout.step, module as u64, i, dropout.p);
    let values: Vec<f32> = (0..x.elem_count() as u64)
        .map(|i| if keep(i) { kept } else { 0.0 })
        .collect();
    Tensor::from_vec(values, x.shape(), x.device())
}
