//! DoRA's gains on the device: the magnitude of each output over the norm of its weight with the factors.
use super::bound::{Bound, GroupFactors};
use super::group::Group;
use super::kinds::Kind;
use super::weights::Weights;
use lora_gpu::{DoraFactors, Dtype, Error, Gpu, Mat, Product, Tensor};
use std::ops::Range;

/// Of all groups with magnitudes.
#[derive(Debug)]
pub(super) struct AllGains {
    /// By layer and [`Kind`].
    groups: Vec<[Option<Gains>; Kind::ALL.len()]>,
    /// W·Aᵀ of a group, f32 (out, columns), and A·Aᵀ, (columns, columns).
    projected: Tensor,
    gram: Tensor,
}

/// Of one group: ΣW² of each output, its norm and its gain, f32 (3, out). Outputs without a magnitude have a gain of 1.
#[derive(Debug)]
pub(super) struct Gains {
    outputs: usize,
    values: Tensor,
}

/// Vectors of each group.
const VECTORS: usize = 3;

/// Bytes of the gains of groups with so many outputs and columns of factors.
pub(super) fn bytes(groups: impl Iterator<Item = (usize, usize)> + Clone) -> usize {
    let outputs: usize = groups.clone().map(|(outputs, _)| outputs).sum();
    let most = |of: fn((usize, usize)) -> usize| groups.clone().map(of).max().unwrap_or(0);
    let projected = most(|(outputs, columns)| outputs * columns);
    let gram = most(|(_, columns)| columns * columns);
    size_of::<f32>() * (VECTORS * outputs + projected + gram)
}

impl AllGains {
    /// Memory for those of `bound`. Weights in blocks are widened into `wide`.
    pub(super) fn new(
        gpu: &Gpu,
        bound: &Bound,
        weights: &Weights,
        wide: &Tensor,
    ) -> Result<Self, Error> {
        let mut groups = Vec::new();
        let (mut projected, mut gram) = (0, 0);
        for (layer, factors) in weights.layers.iter().zip(&bound.layers) {
            let mut of_layer = [const { None }; Kind::ALL.len()];
            for ((group, factors), place) in layer.groups.iter().zip(factors).zip(&mut of_layer) {
                if factors.has_magnitudes() {
                    projected = projected.max(group.outputs * factors.columns);
                    gram = gram.max(factors.columns * factors.columns);
                    *place = Some(Gains::new(gpu, group, wide)?);
                }
            }
            groups.push(of_layer);
        }
        Ok(Self {
            groups,
            projected: gpu.alloc(Dtype::F32, projected)?,
            gram: gpu.alloc(Dtype::F32, gram)?,
        })
    }

    pub(super) fn of(&self, layer: usize, kind: Kind) -> Option<&Gains> {
        self.groups[layer][kind as usize].as_ref()
    }

    /// The gains of a group by its matrix with the factors s·B behind the weights, its factors A, (columns, in), and the
    /// magnitudes among the parameters.
    pub(super) fn update(
        &self,
        gpu: &Gpu,
        (gains, factors): (&Gains, &GroupFactors),
        (matrix, a): (Mat<'_>, Mat<'_>),
        params: &Tensor,
    ) -> Result<(), Error> {
        let inputs = a.columns();
        let (weight, b) = (
            matrix.of_columns(0..inputs),
            matrix.of_columns(inputs..matrix.columns()),
        );
        let projected = self.projected.mat(weight.rows(), a.rows());
        let gram = self.gram.mat(a.rows(), a.rows());
        gpu.gemm(Product::new(weight.n(), a.t(), projected))?;
        gpu.gemm(Product::new(a.n(), a.t(), gram))?;
        for (pair, place) in factors.magnitudes() {
            let rows = pair.rows.clone();
            let ends = factors.of_rows(&rows).map(|pair| pair.columns.end);
            let columns = pair.columns.start..ends.max().unwrap_or(pair.columns.end);
            let factors = DoraFactors {
                squares: gains.row(0).of_columns(rows.clone()),
                b: part(b, &rows, &columns),
                projected: part(projected, &rows, &columns),
                gram: part(gram, &columns, &columns),
            };
            let magnitude = params.strided(place, 1, rows.len(), rows.len());
            let norms = gains.norms().of_columns(rows.clone());
            gpu.dora_gain(factors, magnitude, norms, gains.gain().of_columns(rows))?;
        }
        Ok(())
    }
}

impl Gains {
    fn new(gpu: &Gpu, group: &Group, wide: &Tensor) -> Result<Self, Error> {
        let outputs = group.outputs;
        let values = gpu.uploaded(Dtype::F32, &vec![1f32; VECTORS * outputs])?;
        let gains = Self { outputs, values };
        let weight = group.matrix(gpu, wide)?.of_columns(0..group.inputs);
        gpu.row_squares(weight, gains.row(0))?;
        Ok(gains)
    }

    fn row(&self, row: usize) -> Mat<'_> {
        let rows = self.values.mat(VECTORS, self.outputs);
        rows.of_rows(row..row + 1)
    }

    /// ‖W + s·B·A‖ of each output.
    pub(super) fn norms(&self) -> Mat<'_> {
        self.row(1)
    }

    /// What each output is multiplied by.
    pub(super) fn gain(&self) -> Mat<'_> {
        self.row(2)
    }
}

fn part<'t>(mat: Mat<'t>, rows: &Range<usize>, columns: &Range<usize>) -> Mat<'t> {
    mat.of_rows(rows.clone()).of_columns(columns.clone())
}
