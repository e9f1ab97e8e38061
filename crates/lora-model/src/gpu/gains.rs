//! DoRA's gains on the device: the magnitude of each output over the norm of its weight with the factors.
use super::bound::Bound;
use super::group::Group;
use super::kinds::Kind;
use super::pairs::GroupFactors;
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

/// Vectors of each group or table.
pub(super) const VECTORS: usize = 3;

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
        gains.update(gpu, factors, (b, projected, gram), params)
    }
}

impl Gains {
    fn new(gpu: &Gpu, group: &Group, wide: &Tensor) -> Result<Self, Error> {
        let gains = Self::ones(gpu, group.outputs)?;
        let weight = group.matrix(gpu, wide)?.of_columns(0..group.inputs);
        gpu.row_squares(weight, gains.squares())?;
        Ok(gains)
    }

    /// Ones, in the place of what is still to be computed.
    pub(super) fn ones(gpu: &Gpu, outputs: usize) -> Result<Self, Error> {
        let values = gpu.uploaded(Dtype::F32, &vec![1f32; VECTORS * outputs])?;
        Ok(Self { outputs, values })
    }

    /// Norms and gains of the outputs that have a magnitude, from s·B (out, columns), W·Aᵀ and A·Aᵀ.
    pub(super) fn update(
        &self,
        gpu: &Gpu,
        factors: &GroupFactors,
        (b, projected, gram): (Mat<'_>, Mat<'_>, Mat<'_>),
        params: &Tensor,
    ) -> Result<(), Error> {
        for (pair, place) in factors.magnitudes() {
            let rows = pair.rows.clone();
            let ends = factors.of_rows(&rows).map(|pair| pair.columns.end);
            let columns = pair.columns.start..ends.max().unwrap_or(pair.columns.end);
            let factors = DoraFactors {
                squares: self.squares().of_columns(rows.clone()),
                b: part(b, &rows, &columns),
                projected: part(projected, &rows, &columns),
                gram: part(gram, &columns, &columns),
            };
            let magnitude = params.strided(place, 1, rows.len(), rows.len());
            let norms = self.norms().of_columns(rows.clone());
            gpu.dora_gain(factors, magnitude, norms, self.gain().of_columns(rows))?;
        }
        Ok(())
    }

    fn row(&self, row: usize) -> Mat<'_> {
        let rows = self.values.mat(VECTORS, self.outputs);
        rows.of_rows(row..row + 1)
    }

    /// ΣW² of each output.
    pub(super) fn squares(&self) -> Mat<'_> {
        self.row(0)
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
