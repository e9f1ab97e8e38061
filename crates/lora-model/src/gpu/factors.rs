//! An adapter on the device: its flat parameters, its factors where products read them, and its gradients.
use super::bound::Bound;
use super::buffer::Buffer;
use super::gains::AllGains;
use super::group::Group;
use super::kinds::Kind;
use super::mixture_factors::OwnFactors;
use super::own_biases::{self, OwnBiases};
use super::own_weights;
use super::pairs::{Factors, GroupFactors};
use super::weights::Weights;
use lora_core::Adapter;
use lora_gpu::{Dtype, Error, Gpu, Mat, Tensor};

/// An adapter's values on the device.
#[derive(Debug)]
pub(super) struct OnDevice {
    pub(super) bound: Bound,
    /// All parameters, f32, as the adapter's; and those that were taken out of the base.
    params: Buffer,
    origin: Option<Tensor>,
    /// Gradients, as the parameters.
    pub(super) gradients: Buffer,
    /// The factors A of each group, (columns, in), by layer and kind.
    a: Vec<[Option<Tensor>; Kind::ALL.len()]>,
    /// What stands between the factors of a matrix that is widened.
    zeros: Tensor,
    /// DoRA's.
    pub(super) dora: AllGains,
    /// Biases, where some train.
    pub(super) biases: OwnBiases,
    /// Those at the parameters of mixtures, by layer.
    mixtures: Vec<OwnFactors>,
}

impl OnDevice {
    /// Memory for the adapter that `bound` was made of. Weights in blocks are widened into `wide` where their norms are asked
    /// for.
    pub(super) fn new(
        gpu: &Gpu,
        bound: Bound,
        adapter: Option<&Adapter>,
        (weights, wide): (&Weights, &Tensor),
    ) -> Result<Self, Error> {
        let (mut a, mut mixtures) = (Vec::new(), Vec::new());
        let mut values = 0; // of the zeros
        for (layer, &factors) in weights.layers.iter().zip(&bound.mixtures) {
            let own = OwnFactors::new(gpu, factors, layer.mixture.as_ref())?;
            values = values.max(own.widened(layer.mixture.as_ref()));
            mixtures.push(own);
        }
        for (layer, factors) in weights.layers.iter().zip(&bound.layers) {
            let mut of_layer = [const { None }; Kind::ALL.len()];
            for ((group, factors), place) in layer.groups.iter().zip(factors).zip(&mut of_layer) {
                if factors.columns == 0 {
                    continue;
                }
                if group.is_widened() {
                    values = values.max(group.outputs * factors.columns);
                }
                let len = factors.columns * group.inputs;
                let tensor = gpu.activations(len)?;
                gpu.zero(&tensor, len)?; // rows that align the others stay zero
                *place = Some(tensor);
            }
            a.push(of_layer);
        }
        let zeros = gpu.activations(values)?;
        gpu.zero(&zeros, values)?;
        let origin = adapter.and_then(|a| a.origin.as_deref());
        let dora = AllGains::new(gpu, &bound, weights, wide)?;
        let biases = OwnBiases::new(gpu, &bound, weights)?;
        Ok(Self {
            dora,
            biases,
            mixtures,
            bound,
            params: Buffer::new(Dtype::F32),
            origin: origin
                .map(|values| gpu.uploaded(Dtype::F32, values))
                .transpose()?,
            gradients: Buffer::new(Dtype::F32),
            a,
            zeros,
        })
    }

    /// Takes the adapter's present values to the device, and to where products read them.
    pub(super) fn set(
        &mut self,
        gpu: &Gpu,
        adapter: &Adapter,
        weights: (&Weights, &Tensor),
    ) -> Result<(), Error> {
        let params = self.params.get(gpu, adapter.params.len())?;
        gpu.upload(&adapter.params, &params, 0)?;
        // Another adapter of the same shape took other factors out of the base.
        if let Some((held, values)) = self.origin.as_ref().zip(adapter.origin.as_deref()) {
            gpu.upload(values, held, 0)?;
        }
        self.spread(gpu, weights)
    }

    /// All parameters, if an adapter was taken on.
    pub(super) fn params(&self) -> Option<&Tensor> {
        self.params.tensor()
    }

    /// Takes the parameters on the device to where products read them, with room for the widest weight that is in blocks.
    pub(super) fn spread(
        &self,
        gpu: &Gpu,
        (weights, wide): (&Weights, &Tensor),
    ) -> Result<(), Error> {
        let Some(params) = self.params.tensor() else {
            return Ok(());
        };
        for (layer, of_layer) in weights.layers.iter().enumerate() {
            self.mixtures[layer].set(gpu, of_layer.mixture.as_ref(), params)?;
            for (kind, group) in Kind::ALL.into_iter().zip(&of_layer.groups) {
                let factors = self.factors(layer, kind);
                for pair in &factors.all {
                    let a = self.a[layer][kind as usize].as_ref();
                    self.set_a(gpu, params, pair, group, a)?;
                }
                if !group.is_widened() {
                    let matrix = group.matrix(gpu, wide)?;
                    self.set_b(gpu, factors, group, matrix)?;
                    own_weights::set(gpu, factors, (group, matrix), params)?;
                }
                if let Some(own) = self.biases.of(layer, kind) {
                    own_biases::set(gpu, (own, factors), group, params)?;
                }
                let gains = self.dora.of(layer, kind);
                if let Some((gains, a)) = gains.zip(self.a(layer, kind, group)) {
                    let matrix = self.matrix(gpu, (layer, kind), group, wide)?;
                    let own = (gains, factors);
                    self.dora.update(gpu, own, (matrix, a), params)?;
                }
            }
        }
        Ok(())
    }

    /// Where a pair's values lie: among all parameters, or among those that were taken out of the base.
    pub(super) fn source<'t>(&'t self, params: &'t Tensor, pair: &Factors) -> &'t Tensor {
        match &self.origin {
            Some(origin) if !pair.trains => origin,
            _ => params,
        }
    }

    fn set_a(
        &self,
        gpu: &Gpu,
        params: &Tensor,
        pair: &Factors,
        group: &Group,
        a: Option<&Tensor>,
    ) -> Result<(), Error> {
        let Some(a) = a else { return Ok(()) };
        let from = self.source(params, pair).strided(
            pair.a,
            pair.columns.len(),
            group.inputs,
            group.inputs,
        );
        let to = a.mat(pair.columns.end, group.inputs);
        gpu.convert(from, 1.0, to.of_rows(pair.columns.clone()))
    }

    /// Writes s·B into the columns of a group's matrix behind its weights.
    fn set_b(
        &self,
        gpu: &Gpu,
        factors: &GroupFactors,
        group: &Group,
        matrix: Mat<'_>,
    ) -> Result<(), Error> {
        let Some(params) = self.params.tensor() else {
            return Ok(());
        };
        for pair in &factors.all {
            let rank = pair.columns.len();
            let from = self
                .source(params, pair)
                .strided(pair.b, pair.rows.len(), rank, rank);
            let columns = group.inputs + pair.columns.start..group.inputs + pair.columns.end;
            let to = matrix.of_rows(pair.rows.clone()).of_columns(columns);
            gpu.convert(from, pair.scaling, to)?;
        }
        Ok(())
    }

    /// The factors at the parameters of a layer's mixture.
    pub(super) fn mixture(&self, layer: usize) -> &OwnFactors {
        &self.mixtures[layer]
    }

    /// Values that are zero, as many as the factors of a matrix that is widened.
    pub(super) fn zeros(&self) -> &Tensor {
        &self.zeros
    }

    /// The matrix of a group with its factors, ready for products: (out, in + columns).
    pub(super) fn matrix<'t>(
        &self,
        gpu: &Gpu,
        (layer, kind): (usize, Kind),
        group: &'t Group,
        wide: &'t Tensor,
    ) -> Result<Mat<'t>, Error> {
        let matrix = group.matrix(gpu, wide)?;
        let factors = self.factors(layer, kind);
        if group.is_widened() {
            if factors.columns > 0 {
                let columns = group.inputs..group.inputs + factors.columns;
                let zeros = self.zeros.mat(group.outputs, factors.columns);
                gpu.convert(zeros, 1.0, matrix.of_columns(columns))?;
            }
            self.set_b(gpu, factors, group, matrix)?;
            if let Some(params) = self.params() {
                own_weights::set(gpu, factors, (group, matrix), params)?;
            }
        }
        Ok(matrix.of_columns(0..group.inputs + factors.columns))
    }

    pub(super) fn factors(&self, layer: usize, kind: Kind) -> &GroupFactors {
        &self.bound.layers[layer][kind as usize]
    }

    /// The factors A of a group, (columns, in).
    pub(super) fn a(&self, layer: usize, kind: Kind, group: &Group) -> Option<Mat<'_>> {
        let tensor = self.a[layer][kind as usize].as_ref()?;
        Some(tensor.mat(self.factors(layer, kind).columns, group.inputs))
    }
}
