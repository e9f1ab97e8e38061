//! The matrices of all experts with an adapter's factors beside them, forward and backward. With u = x·Aᵀ in the columns
//! behind x, one product of an expert's rows gives [x, u]·[W, s·B]ᵀ, and one the gradients of x and of u.
use super::mixture_bound::{ParameterPair, columns_of};
use super::stack::Stack;
use lora_gpu::{Error, Gpu, Mat, Product, Tensor};
use lora_kernels::experts::Routing;

/// The factors of all experts at some matrix.
#[derive(Debug)]
pub(super) struct StackFactors {
    pair: ParameterPair,
    /// A of each expert with zeros below, (E·columns, in).
    a: Tensor,
}

impl StackFactors {
    pub(super) fn new(gpu: &Gpu, pair: ParameterPair, stack: &Stack) -> Result<Self, Error> {
        let size = stack.size();
        let values = size.experts * columns_of(pair.rank) * size.columns;
        let a = gpu.activations(values)?;
        gpu.zero(&a, values)?;
        Ok(Self { pair, a })
    }

    /// Takes the parameters on: A, and B where the weights are dense.
    pub(super) fn set(&self, gpu: &Gpu, stack: &Stack, params: &Tensor) -> Result<(), Error> {
        let (size, pair) = (stack.size(), self.pair);
        let own = pair.rank * size.columns;
        let stride = columns_of(pair.rank) * size.columns;
        let from = params.strided(pair.a, size.experts, own, own);
        let to = self.a.mat(size.experts, stride).of_columns(0..own);
        gpu.convert(from, 1.0, to)?;
        match stack.dense() {
            Some(all) => self.set_b(gpu, params, (0, size.experts), stack, all),
            None => Ok(()),
        }
    }

    /// Writes s·B of some experts, from the first on, into the columns of their matrices behind the weights.
    fn set_b(
        &self,
        gpu: &Gpu,
        params: &Tensor,
        (first, count): (usize, usize),
        stack: &Stack,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (size, pair) = (stack.size(), self.pair);
        let place = pair.b + first * size.rows * pair.rank;
        let from = params.strided(place, count * size.rows, pair.rank, pair.rank);
        let columns = size.columns..size.columns + pair.rank;
        gpu.convert(from, pair.scaling, to.of_columns(columns))
    }
}

/// Which way rows pass a matrix (out, in).
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Forward,
    Backward,
}

/// All experts' matrices at some projections as products read them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sided<'p> {
    pub(super) gpu: &'p Gpu,
    pub(super) stack: &'p Stack,
    /// With all parameters of the adapter.
    pub(super) factors: Option<(&'p StackFactors, &'p Tensor)>,
    /// What stands between the factors of a matrix that is widened.
    pub(super) zeros: &'p Tensor,
    /// Where matrices in blocks are widened.
    pub(super) wide: &'p Tensor,
}

impl<'p> Sided<'p> {
    /// Input features.
    fn inputs(self) -> usize {
        self.stack.size().columns
    }

    /// Columns of factors.
    pub(super) fn columns(self) -> usize {
        self.factors.map_or(0, |(own, _)| columns_of(own.pair.rank))
    }

    /// Rows of the input with room for u behind them, (T·k, in + columns).
    pub(super) fn all<'t>(self, tensor: &'t Tensor, rows: usize) -> Mat<'t> {
        tensor.mat(rows, self.inputs() + self.columns())
    }

    /// The input alone.
    pub(super) fn plain(self, all: Mat<'_>) -> Mat<'_> {
        all.of_columns(0..self.inputs())
    }

    /// u alone.
    pub(super) fn u(self, all: Mat<'_>) -> Mat<'_> {
        all.of_columns(self.inputs()..all.columns())
    }

    /// The matrix of an expert with s·B, (out, in + columns).
    fn matrix(self, expert: usize) -> Result<Mat<'p>, Error> {
        let matrix = self.stack.matrix(self.gpu, expert, self.wide)?;
        let (inputs, columns) = (self.inputs(), self.columns());
        let matrix = matrix.of_columns(0..inputs + columns);
        if let Some((own, params)) = self.factors.filter(|_| self.stack.is_widened()) {
            if columns > own.pair.rank {
                let zeros = self.zeros.mat(matrix.rows(), columns);
                self.gpu.convert(zeros, 1.0, self.u(matrix))?;
            }
            own.set_b(self.gpu, params, (expert, 1), self.stack, matrix)?;
        }
        Ok(matrix)
    }

    /// u of each expert's rows, behind the input in `all`.
    pub(super) fn inner(self, routing: &Routing, all: Mat<'_>) -> Result<(), Error> {
        let Some((own, _)) = self.factors else {
            return Ok(());
        };
        for (expert, rows) in routing.ranges() {
            let (x, u) = (self.plain(all), self.u(all));
            let a = self.a(own, expert).t();
            let to = u.of_rows(rows.clone());
            self.gpu.gemm(Product::new(x.of_rows(rows).n(), a, to))?;
        }
        Ok(())
    }

    /// A of an expert with the zeros below, (columns, in).
    fn a(self, own: &StackFactors, expert: usize) -> Mat<'_> {
        let (columns, experts) = (self.columns(), self.stack.size().experts);
        let all = own.a.mat(experts * columns, self.inputs());
        all.of_rows(expert * columns..(expert + 1) * columns)
    }

    /// The rows of each expert in `from` times its matrix or, forward, the transpose of it, go to `to`.
    pub(super) fn multiply(
        self,
        routing: &Routing,
        way: Way,
        from: Mat<'_>,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        for (expert, rows) in routing.ranges() {
            let matrix = self.matrix(expert)?;
            let from = from.of_rows(rows.clone());
            let matrix = match way {
                Way::Forward => matrix.t(),
                Way::Backward => matrix.n(),
            };
            let product = Product::new(from.n(), matrix, to.of_rows(rows));
            self.gpu.gemm(product)?;
        }
        Ok(())
    }

    /// Adds to the gradients of A and B, dA += duᵀ·x and dB += s·dyᵀ·u, from dy (T·k, out), the input with u in `all`, and
    /// their gradients in `d_all`, where that of x has what passes A added.
    pub(super) fn through_factors(
        self,
        routing: &Routing,
        dy: Mat<'_>,
        (all, d_all): (Mat<'_>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let Some((own, _)) = self.factors else {
            return Ok(());
        };
        let (gpu, pair, inputs) = (self.gpu, own.pair, self.inputs());
        let outputs = self.stack.size().rows;
        for (expert, rows) in routing.ranges() {
            let (x, u) = (self.plain(all), self.u(all));
            let (d_x, d_u) = (self.plain(d_all), self.u(d_all));
            let [x, u, d_x, d_u, dy] = [x, u, d_x, d_u, dy].map(|mat| mat.of_rows(rows.clone()));
            let trains = 0..pair.rank;
            let place = pair.a + expert * pair.rank * inputs;
            let d_a = gradients.strided(place, pair.rank, inputs, inputs);
            let product = Product::new(d_u.of_columns(trains.clone()).t(), x.n(), d_a);
            gpu.gemm(product.adding())?;
            let place = pair.b + expert * outputs * pair.rank;
            let d_b = gradients.strided(place, outputs, pair.rank, pair.rank);
            let product = Product::new(dy.t(), u.of_columns(trains).n(), d_b);
            gpu.gemm(product.times(pair.scaling).adding())?;
            let product = Product::new(d_u.n(), self.a(own, expert).n(), d_x);
            gpu.gemm(product.adding())?;
        }
        Ok(())
    }
}
