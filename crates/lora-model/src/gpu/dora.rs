//! DoRA on the device. With d the dropout of a module's input and g = m/‖W + s·B·A‖, a constant of the gradient but for m:
//! y = (x − d(x))·Wᵀ + g∘z + bias, z = d(x)·Wᵀ + s·(d(x)·Aᵀ)·Bᵀ. Without dropout z is the group's one product; with it every
//! layer of a group sees an input of its own. W is the base's weight without what was taken out of it (PiSSA, OLoRA).
use super::gains::Gains;
use super::group::Linear;
use super::kinds::Kind;
use super::linear::{Ends, mask};
use super::pairs::Factors;
use super::pass::LayerPass;
use super::saved::Saved;
use crate::Dropout;
use lora_gpu::{Error, Mask, Mat, Product, Tensor, Write};

/// A layer of a group, on its way forward.
struct Forward<'t> {
    /// The input with u behind it.
    x: Mat<'t>,
    /// The layer's rows of the group's matrix.
    matrix: Mat<'t>,
    z: Mat<'t>,
    y: Mat<'t>,
    write: Write,
}

impl<'p> LayerPass<'p> {
    pub(super) fn gains(self, kind: Kind) -> Option<&'p Gains> {
        self.pass.on_device.dora.of(self.index, kind)
    }

    /// What the magnitudes scale of a group's outputs, (T, out).
    fn z<'t>(self, kind: Kind, saved: &'t Saved) -> Mat<'t> {
        saved.z[kind as usize].mat(self.pass.rows, self.group(kind).outputs)
    }

    /// y (T, out) = or += what the group gives without its bias, for its input x with u behind it.
    pub(super) fn scaled_product(
        self,
        (kind, gains): (Kind, &Gains),
        (x, matrix): (Mat<'_>, Mat<'_>),
        (y, write): (Mat<'_>, Write),
        saved: &Saved,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let z = self.z(kind, saved);
        let Some(dropout) = self.pass.dropout else {
            gpu.gemm(Product::new(x.n(), matrix.t(), z))?;
            return gpu.scale_columns(z, (gains.gain(), 0.0), y, write);
        };
        for Linear { rows, .. } in &self.group(kind).linears {
            let own = Forward {
                x,
                matrix: matrix.of_rows(rows.clone()),
                z: z.of_columns(rows.clone()),
                y: y.of_columns(rows.clone()),
                write,
            };
            let mut pairs = self.factors(kind).of_rows(rows);
            match pairs.find(|pair| pair.magnitude.is_some()) {
                Some(pair) => self.dropped_product((kind, gains), pair, dropout, own)?,
                None => gpu.gemm(Product::new(x.n(), own.matrix.t(), own.y).written(write))?,
            }
        }
        Ok(())
    }

    /// The same of one layer whose input is dropped.
    fn dropped_product(
        self,
        (kind, gains): (Kind, &Gains),
        pair: &Factors,
        dropout: Dropout,
        own: Forward<'_>,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let inputs = self.group(kind).inputs;
        let Forward { x, matrix, z, .. } = own;
        let (x, u) = (x.of_columns(0..inputs), x.of_columns(inputs..x.columns()));
        let mask = mask(pair, dropout);
        let seen = self.input(kind, &self.scratch.dropped);
        gpu.drop(x, mask, 0, seen.of_columns(0..inputs))?;
        gpu.convert(u, 1.0, seen.of_columns(inputs..seen.columns()))?;
        gpu.gemm(Product::new(seen.n(), matrix.t(), z))?;
        let rest = self.scratch.d_dropped.mat(x.rows(), inputs);
        gpu.convert(x, 1.0, rest)?;
        gpu.add_dropped(x, negative(mask), 0, rest)?; // x − d(x)
        let weight = matrix.of_columns(0..inputs);
        gpu.gemm(Product::new(rest.n(), weight.t(), own.y).written(own.write))?;
        for taken in self.taken_out(kind, pair) {
            let columns = inputs + taken.columns.start..inputs + taken.columns.end;
            let inner = seen.of_columns(columns.clone()); // what was seen is multiplied
            gpu.gemm(Product::new(rest.n(), self.a(kind, taken).t(), inner))?;
            let b = matrix.of_columns(columns);
            gpu.gemm(Product::new(inner.n(), b.t(), own.y).adding())?;
        }
        let gain = gains.gain().of_columns(pair.rows.clone());
        gpu.scale_columns(z, (gain, 0.0), own.y, Write::Add)
    }

    /// Without dropout: from dy (T, out) the gradient of z, in the scratch; adds to the magnitudes'.
    pub(super) fn scaled_gradient(
        self,
        (kind, gains): (Kind, &Gains),
        dy: Mat<'_>,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<Mat<'p>, Error> {
        let dz = self.scratch.d_scaled.mat(dy.rows(), dy.columns());
        let z = self.z(kind, saved);
        for (pair, place) in self.factors(kind).magnitudes() {
            self.magnitude_gradient(gains, (pair, place), (dy, z), gradients)?;
        }
        let gpu = self.pass.gpu;
        gpu.scale_columns(dy, (gains.gain(), 0.0), dz, Write::Replace)?;
        Ok(dz)
    }

    fn magnitude_gradient(
        self,
        gains: &Gains,
        (pair, place): (&Factors, usize),
        (dy, z): (Mat<'_>, Mat<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let (rows, outputs) = (pair.rows.clone(), pair.rows.len());
        let d_m = gradients.strided(place, 1, outputs, outputs);
        let norms = gains.norms().of_columns(rows.clone());
        let (dy, z) = (dy.of_columns(rows.clone()), z.of_columns(rows));
        self.pass.gpu.magnitude_gradient(dy, z, norms, d_m)
    }

    /// With dropout: from dy (T, out) the gradient of the input goes to that of `back`, whose other columns are those of dy
    /// through the factors; adds to the gradients of all that trains.
    pub(super) fn dropped_back(
        self,
        (kind, gains, dropout): (Kind, &Gains, Dropout),
        (dy, matrix): (Mat<'_>, Mat<'_>),
        (saved, back): (&Saved, Ends<'_>),
        gradients: &Tensor,
    ) -> Result<(), Error> {
        for Linear { rows, .. } in &self.group(kind).linears {
            let of_layer = || self.factors(kind).of_rows(rows);
            let Some((pair, place)) = of_layer().find_map(|p| Some((p, p.magnitude?))) else {
                for pair in of_layer() {
                    self.factor_gradients(kind, pair, (back, dy), gradients)?;
                    self.through_factor(kind, pair, dropout, back)?;
                }
                continue;
            };
            let z = self.z(kind, saved);
            self.magnitude_gradient(gains, (pair, place), (dy, z), gradients)?;
            let gain = gains.gain().of_columns(rows.clone());
            let own = (dy.of_columns(rows.clone()), matrix.of_rows(rows.clone()));
            self.dropped_layer_back((kind, gain, dropout), pair, own, back, gradients)?;
        }
        Ok(())
    }

    /// The same of one layer: d_x += what passes A, and (dz − dy)·W through the mask of d(x), whereas dy·W is there.
    fn dropped_layer_back(
        self,
        (kind, gain, dropout): (Kind, Mat<'_>, Dropout),
        pair: &Factors,
        (dy, matrix): (Mat<'_>, Mat<'_>),
        back: Ends<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let inputs = self.group(kind).inputs;
        let b = |pair: &Factors| {
            matrix.of_columns(inputs + pair.columns.start..inputs + pair.columns.end)
        };
        let dz = self.scratch.d_scaled.mat(dy.rows(), dy.columns());
        gpu.scale_columns(dy, (gain, 0.0), dz, Write::Replace)?;
        let d_u = back.d_u.of_columns(pair.columns.clone());
        gpu.gemm(Product::new(dz.n(), b(pair).n(), d_u))?;
        self.pair_gradients(kind, pair, (back, dz), gradients)?;
        for taken in self.taken_out(kind, pair) {
            let d_u = back.d_u.of_columns(taken.columns.clone());
            gpu.gemm(Product::new(d_u.n(), self.a(kind, taken).n(), back.d_x).adding())?;
        }
        gpu.scale_columns(dy, (gain, 1.0), dz, Write::Replace)?; // dz − dy
        let d_seen = self.scratch.d_dropped.mat(dy.rows(), inputs);
        let weight = matrix.of_columns(0..inputs);
        gpu.gemm(Product::new(dz.n(), weight.n(), d_seen))?;
        gpu.gemm(Product::new(d_u.n(), self.a(kind, pair).n(), d_seen).adding())?;
        for taken in self.taken_out(kind, pair) {
            let d_u = back.d_u.of_columns(taken.columns.clone());
            gpu.gemm(Product::new(dz.n(), b(taken).n(), d_u))?;
            gpu.gemm(Product::new(d_u.n(), self.a(kind, taken).n(), d_seen).adding())?;
        }
        gpu.add_dropped(d_seen, mask(pair, dropout), 0, back.d_x)
    }

    /// What was taken out of the base at the layer of a pair.
    fn taken_out(self, kind: Kind, pair: &Factors) -> impl Iterator<Item = &'p Factors> {
        let pairs = self.factors(kind).of_rows(&pair.rows);
        pairs.filter(|pair| !pair.trains)
    }
}

/// d(x) with the other sign.
fn negative(mask: Mask) -> Mask {
    Mask {
        scale: -mask.scale,
        ..mask
    }
}
