//! A group of linear layers with its factors, forward and backward. With d the dropout of a factor's input:
//! u = d(x)·Aᵀ stands in the columns behind x, and y = [x, u]·[W, s·B]ᵀ + bias.
use super::bound::{Factors, GroupFactors};
use super::group::{Group, Kind};
use super::pass::LayerPass;
use crate::Dropout;
use lora_gpu::{Error, Mask, Mat, Product, Tensor};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    pub(super) fn group(self, kind: Kind) -> &'p Group {
        self.layer.group(kind)
    }

    fn factors(self, kind: Kind) -> &'p GroupFactors {
        self.pass.on_device.factors(self.index, kind)
    }

    /// The input of a group with room for u behind it, (T, in + columns).
    pub(super) fn input<'t>(self, kind: Kind, tensor: &'t Tensor) -> Mat<'t> {
        let width = self.group(kind).inputs + self.factors(kind).columns;
        tensor.mat(self.pass.rows, width)
    }

    /// The input alone, (T, in).
    pub(super) fn plain<'t>(self, kind: Kind, tensor: &'t Tensor) -> Mat<'t> {
        self.input(kind, tensor)
            .of_columns(0..self.group(kind).inputs)
    }

    /// y (T, out) = (or, if f32, +=) what the group gives for the input in `tensor`, behind which u is written.
    pub(super) fn forward(self, kind: Kind, tensor: &Tensor, y: Mat<'_>) -> Result<(), Error> {
        let operations = self.operations(kind);
        self.pass.timed(Part::LinearForward, operations, || {
            self.multiply(kind, tensor, y)
        })
    }

    /// Floating-point operations of one product with the group's matrix.
    fn operations(self, kind: Kind) -> usize {
        let group = self.group(kind);
        2 * self.pass.rows * group.outputs * (group.inputs + self.factors(kind).columns)
    }

    fn multiply(self, kind: Kind, tensor: &Tensor, y: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let group = self.group(kind);
        let x = self.input(kind, tensor);
        self.inner(kind, tensor)?;
        let on_device = self.pass.on_device;
        let matrix = on_device.matrix(gpu, (self.index, kind), group, &self.scratch.wide)?;
        let product = Product::new(x.n(), matrix.t(), y);
        let adds = kind.adds_to_hidden() && y.dtype() == lora_gpu::Dtype::F32 && self.adds(kind);
        gpu.gemm(if adds { product.adding() } else { product })?;
        match &group.bias {
            Some(bias) => gpu.add_bias(bias, 0, 1.0, y),
            None => Ok(()),
        }
    }

    /// Whether the group's output is added to the hidden state as it is.
    fn adds(self, kind: Kind) -> bool {
        let norm = match kind {
            Kind::Output => &self.layer.attention_output_norm,
            Kind::Down => &self.layer.mlp_output_norm,
            Kind::Qkv | Kind::GateUp => return false,
        };
        norm.is_none() && self.residual_multiplier() == 1.0
    }

    /// u of all factors, behind the input.
    fn inner(self, kind: Kind, tensor: &Tensor) -> Result<(), Error> {
        let (gpu, group) = (self.pass.gpu, self.group(kind));
        let Some(a) = self.pass.on_device.a(self.index, kind, group) else {
            return Ok(());
        };
        let all = self.input(kind, tensor);
        let x = all.of_columns(0..group.inputs);
        let u = all.of_columns(group.inputs..all.columns());
        let Some(dropout) = self.pass.dropout else {
            return gpu.gemm(Product::new(x.n(), a.t(), u));
        };
        let factors = self.factors(kind);
        for (pair, rows) in factors.with_padding() {
            let seen = self.seen(pair, x, dropout)?;
            let product = Product::new(seen.n(), a.of_rows(rows.clone()).t(), u.of_columns(rows));
            gpu.gemm(product)?;
        }
        Ok(())
    }

    /// The input that a pair of factors sees.
    fn seen<'t>(self, pair: &Factors, x: Mat<'t>, dropout: Dropout) -> Result<Mat<'t>, Error>
    where
        'p: 't,
    {
        if !pair.trains {
            return Ok(x);
        }
        let dropped = self.scratch.dropped.mat(x.rows(), x.columns());
        self.pass.gpu.drop(x, mask(pair, dropout), 0, dropped)?;
        Ok(dropped)
    }

    /// From dy (T, out) the gradient of the input, (T, in), in the scratch; adds to the gradients of A and B. `tensor` holds
    /// the input and u.
    pub(super) fn backward(
        self,
        kind: Kind,
        tensor: &Tensor,
        dy: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let operations = self.operations(kind);
        self.pass.timed(Part::LinearBackward, operations, || {
            self.multiply_back(kind, tensor, dy, gradients)
        })
    }

    fn multiply_back(
        self,
        kind: Kind,
        tensor: &Tensor,
        dy: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let gpu = self.pass.gpu;
        let group = self.group(kind);
        let on_device = self.pass.on_device;
        let matrix = on_device.matrix(gpu, (self.index, kind), group, &self.scratch.wide)?;
        let d_all = self.input(kind, &self.scratch.d_input);
        gpu.gemm(Product::new(dy.n(), matrix.n(), d_all))?;
        let d_x = d_all.of_columns(0..group.inputs);
        let d_u = d_all.of_columns(group.inputs..d_all.columns());
        let all = self.input(kind, tensor);
        let x = all.of_columns(0..group.inputs);
        let u = all.of_columns(group.inputs..all.columns());
        for pair in self.factors(kind).all.iter().filter(|pair| pair.trains) {
            let seen = match self.pass.dropout {
                Some(dropout) => self.seen(pair, x, dropout)?,
                None => x,
            };
            let rank = pair.columns.len();
            let d_a = gradients.strided(pair.a, rank, group.inputs, group.inputs);
            let d_u = d_u.of_columns(pair.columns.clone());
            gpu.gemm(Product::new(d_u.t(), seen.n(), d_a).adding())?;
            let d_b = gradients.strided(pair.b, pair.rows.len(), rank, rank);
            let dy = dy.of_columns(pair.rows.clone());
            let u = u.of_columns(pair.columns.clone());
            let product = Product::new(dy.t(), u.n(), d_b).times(pair.scaling);
            gpu.gemm(product.adding())?;
        }
        self.through_factors(kind, d_u, d_x)?;
        Ok(d_x)
    }

    /// d_x += the gradient that passes A.
    fn through_factors(self, kind: Kind, d_u: Mat<'_>, d_x: Mat<'_>) -> Result<(), Error> {
        let (gpu, group) = (self.pass.gpu, self.group(kind));
        let Some(a) = self.pass.on_device.a(self.index, kind, group) else {
            return Ok(());
        };
        let Some(dropout) = self.pass.dropout else {
            return gpu.gemm(Product::new(d_u.n(), a.n(), d_x).adding());
        };
        for pair in &self.factors(kind).all {
            let d_u = d_u.of_columns(pair.columns.clone());
            let a = a.of_rows(pair.columns.clone());
            if !pair.trains {
                gpu.gemm(Product::new(d_u.n(), a.n(), d_x).adding())?;
                continue;
            }
            let d_seen = self.scratch.d_dropped.mat(d_x.rows(), d_x.columns());
            gpu.gemm(Product::new(d_u.n(), a.n(), d_seen))?;
            gpu.add_dropped(d_seen, mask(pair, dropout), 0, d_x)?;
        }
        Ok(())
    }
}

impl Kind {
    fn adds_to_hidden(self) -> bool {
        matches!(self, Self::Output | Self::Down)
    }
}

/// The mask of a module's input: the CPU's.
fn mask(pair: &Factors, dropout: Dropout) -> Mask {
    let mask = lora_random::Mask::new(dropout.seed, dropout.step, pair.module as u64, dropout.p);
    Mask {
        key: mask.key(),
        threshold: mask.threshold(),
        scale: mask.keep_scale,
    }
}
