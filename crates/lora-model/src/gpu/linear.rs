//! A group of linear layers with its factors, forward and backward. With d the dropout of a factor's input:
//! u = d(x)·Aᵀ stands in the columns behind x, and y = [x, u]·[W, s·B]ᵀ + bias.
use super::group::Group;
use super::kinds::Kind;
use super::pairs::{Factors, GroupFactors};
use super::pass::LayerPass;
use super::saved::Saved;
use crate::Dropout;
use lora_gpu::{Error, Mask, Mat, Product, Tensor, Write};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    pub(super) fn group(self, kind: Kind) -> &'p Group {
        self.layer.group(kind)
    }

    pub(super) fn factors(self, kind: Kind) -> &'p GroupFactors {
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

    /// y (T, out) = (or, if f32, +=) what the group gives for its input in `saved`, behind which u is written.
    pub(super) fn forward(self, kind: Kind, saved: &Saved, y: Mat<'_>) -> Result<(), Error> {
        let operations = self.operations(kind);
        self.pass.timed(Part::LinearForward, operations, || {
            self.multiply(kind, saved, y)
        })
    }

    /// Floating-point operations of one product with the group's matrix.
    fn operations(self, kind: Kind) -> usize {
        let group = self.group(kind);
        2 * self.pass.rows * group.outputs * (group.inputs + self.factors(kind).columns)
    }

    fn multiply(self, kind: Kind, saved: &Saved, y: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let group = self.group(kind);
        let x = self.input(kind, &saved.inputs[kind as usize]);
        self.inner(kind, x)?;
        let on_device = self.pass.on_device;
        let matrix = on_device.matrix(gpu, (self.index, kind), group, &self.scratch.wide)?;
        let adds = kind.adds_to_hidden() && y.dtype() == lora_gpu::Dtype::F32 && self.adds(kind);
        let write = if adds { Write::Add } else { Write::Replace };
        match self.gains(kind) {
            Some(gains) => self.scaled_product((kind, gains), (x, matrix), (y, write), saved)?,
            None => gpu.gemm(Product::new(x.n(), matrix.t(), y).written(write))?,
        }
        let own = on_device.biases.of(self.index, kind);
        if let Some(bias) = own.or(group.bias.as_ref()) {
            gpu.add_bias(bias, 0, 1.0, y)?;
        }
        self.multiply_outputs(kind, y)
    }

    /// What a group gives, or the gradient of that, times the model's factors; nothing where those are 1.
    pub(super) fn multiply_outputs(self, kind: Kind, y: Mat<'_>) -> Result<(), Error> {
        let group = self.group(kind);
        match &group.multipliers {
            Some(all) => {
                let factors = all.mat(1, group.outputs);
                let gpu = self.pass.gpu;
                gpu.scale_columns(y, (factors, 0.0), y, Write::Replace)
            }
            None => Ok(()),
        }
    }

    /// Whether the group's output is added to the hidden state as it is.
    fn adds(self, kind: Kind) -> bool {
        let norm = match kind {
            Kind::Output | Kind::Beside => &self.layer.attention_output_norm,
            Kind::Down => &self.layer.mlp_output_norm,
            Kind::InputOutput => &self.layer.input_output_norm,
            Kind::Qkv | Kind::GateUp | Kind::LayerInputs | Kind::InputGate => return false,
        };
        norm.is_none() && self.output_multiplier(kind) == 1.0
    }

    /// u of all factors, behind the input in `all`.
    fn inner(self, kind: Kind, all: Mat<'_>) -> Result<(), Error> {
        let (gpu, group) = (self.pass.gpu, self.group(kind));
        let Some(a) = self.pass.on_device.a(self.index, kind, group) else {
            return Ok(());
        };
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
        if !pair.drops() {
            return Ok(x);
        }
        let dropped = self.scratch.dropped.mat(x.rows(), x.columns());
        self.pass.gpu.drop(x, mask(pair, dropout), 0, dropped)?;
        Ok(dropped)
    }

    /// From dy (T, out) the gradient of the input, (T, in), in the scratch; adds to the gradients of what trains. `saved` holds
    /// the input and u.
    pub(super) fn backward(
        self,
        kind: Kind,
        saved: &Saved,
        dy: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let operations = self.operations(kind);
        self.pass.timed(Part::LinearBackward, operations, || {
            self.multiply_back(kind, saved, dy, gradients)
        })
    }

    fn multiply_back(
        self,
        kind: Kind,
        saved: &Saved,
        dy: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let gpu = self.pass.gpu;
        let group = self.group(kind);
        let on_device = self.pass.on_device;
        let matrix = on_device.matrix(gpu, (self.index, kind), group, &self.scratch.wide)?;
        let d_all = self.input(kind, &self.scratch.d_input);
        let all = self.input(kind, &saved.inputs[kind as usize]);
        let d_x = d_all.of_columns(0..group.inputs);
        let back = Ends {
            x: all.of_columns(0..group.inputs),
            u: all.of_columns(group.inputs..all.columns()),
            d_x,
            d_u: d_all.of_columns(group.inputs..d_all.columns()),
        };
        self.whole_gradients(kind, (back.x, dy), gradients)?;
        let dz = match (self.gains(kind), self.pass.dropout) {
            (Some(gains), Some(dropout)) => {
                gpu.gemm(Product::new(dy.n(), matrix.n(), d_all))?;
                let own = (kind, gains, dropout);
                self.dropped_back(own, (dy, matrix), (saved, back), gradients)?;
                return Ok(d_x);
            }
            (Some(gains), None) => self.scaled_gradient((kind, gains), dy, saved, gradients)?,
            (None, _) => dy,
        };
        gpu.gemm(Product::new(dz.n(), matrix.n(), d_all))?;
        for pair in &self.factors(kind).all {
            self.factor_gradients(kind, pair, (back, dz), gradients)?;
        }
        self.through_factors(kind, back)?;
        Ok(d_x)
    }

    /// Adds to the gradients of a group's biases and whole weights, from its input x (T, in) and the gradient of its outputs,
    /// dy (T, out).
    fn whole_gradients(
        self,
        kind: Kind,
        (x, dy): (Mat<'_>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        for own in &self.factors(kind).weights {
            let to = gradients.strided(own.place, own.rows.len(), x.columns(), x.columns());
            let dy = dy.of_columns(own.rows.clone());
            let product = Product::new(dy.t(), x.n(), to);
            self.pass.gpu.gemm(product.adding())?;
        }
        for bias in &self.factors(kind).biases {
            let count = bias.rows.len();
            let to = gradients.strided(bias.place, 1, count, count);
            let dy = dy.of_columns(bias.rows.clone());
            self.pass.gpu.bias_gradient(dy, bias.scaling, to)?;
        }
        Ok(())
    }

    /// Adds to the gradients of A and B of a pair from dz (T, out), that of what the group's factors add to, if they train.
    pub(super) fn factor_gradients(
        self,
        kind: Kind,
        pair: &Factors,
        (back, dz): (Ends<'_>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        if !pair.trains {
            return Ok(());
        }
        let dz = dz.of_columns(pair.rows.clone());
        self.pair_gradients(kind, pair, (back, dz), gradients)
    }

    /// The same from the pair's own columns of dz.
    pub(super) fn pair_gradients(
        self,
        kind: Kind,
        pair: &Factors,
        (back, dz): (Ends<'_>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let inputs = self.group(kind).inputs;
        let seen = match self.pass.dropout {
            Some(dropout) => self.seen(pair, back.x, dropout)?,
            None => back.x,
        };
        let rank = pair.columns.len();
        let d_a = gradients.strided(pair.a, rank, inputs, inputs);
        let d_u = back.d_u.of_columns(pair.columns.clone());
        gpu.gemm(Product::new(d_u.t(), seen.n(), d_a).adding())?;
        let d_b = gradients.strided(pair.b, pair.rows.len(), rank, rank);
        let u = back.u.of_columns(pair.columns.clone());
        let product = Product::new(dz.t(), u.n(), d_b).times(pair.scaling);
        gpu.gemm(product.adding())
    }

    /// d_x += the gradient that passes A of all factors.
    fn through_factors(self, kind: Kind, back: Ends<'_>) -> Result<(), Error> {
        let group = self.group(kind);
        let Some(a) = self.pass.on_device.a(self.index, kind, group) else {
            return Ok(());
        };
        let Some(dropout) = self.pass.dropout else {
            let product = Product::new(back.d_u.n(), a.n(), back.d_x);
            return self.pass.gpu.gemm(product.adding());
        };
        for pair in &self.factors(kind).all {
            self.through_factor(kind, pair, dropout, back)?;
        }
        Ok(())
    }

    /// The same of one pair, with dropout.
    pub(super) fn through_factor(
        self,
        kind: Kind,
        pair: &Factors,
        dropout: Dropout,
        back: Ends<'_>,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let d_u = back.d_u.of_columns(pair.columns.clone());
        let a = self.a(kind, pair);
        if !pair.trains {
            return gpu.gemm(Product::new(d_u.n(), a.n(), back.d_x).adding());
        }
        let d_seen = self.scratch.d_dropped.mat(back.d_x.rows(), a.columns());
        gpu.gemm(Product::new(d_u.n(), a.n(), d_seen))?;
        gpu.add_dropped(d_seen, mask(pair, dropout), 0, back.d_x)
    }

    /// A of a pair, (r, in).
    pub(super) fn a(self, kind: Kind, pair: &Factors) -> Mat<'p> {
        match self.pass.on_device.a(self.index, kind, self.group(kind)) {
            Some(all) => all.of_rows(pair.columns.clone()),
            None => unreachable!("a group with factors has memory for A"),
        }
    }
}

/// What a group's backward pass reads and writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends<'t> {
    /// Input (T, in), and u of all factors.
    pub(super) x: Mat<'t>,
    pub(super) u: Mat<'t>,
    /// Their gradients.
    pub(super) d_x: Mat<'t>,
    pub(super) d_u: Mat<'t>,
}

/// The mask of a module's input: the CPU's.
pub(super) fn mask(pair: &Factors, dropout: Dropout) -> Mask {
    let mask = lora_random::Mask::new(dropout.seed, dropout.step, pair.module as u64, dropout.p);
    Mask {
        key: mask.key(),
        threshold: mask.threshold(),
        scale: mask.keep_scale,
    }
}
