//! A linear layer with DoRA. With d the dropout of the adapter's input and g = m/‖W + s·B·A‖:
//! y = (x − d(x))·Wᵀ + g∘z + bias, z = d(x)·Wᵀ + s·(d(x)·Aᵀ)·Bᵀ; g's norm is a constant of the gradient.
use super::buffers::Kept;
use super::dropout::difference;
use super::project::{Applied, Back};
use super::scratch::ProjectScratch;
use super::site::Dora;
use lora_kernels::lora::Lora;
use lora_kernels::matrix::{Mat, Place};
use lora_kernels::{dora as kernels, linear};
use std::mem;

impl Applied<'_> {
    /// y (T, out) but for the bias; `kept` is for the backward pass.
    pub(super) fn forward_dora(
        self,
        lora: &Lora<'_>,
        dora: &Dora,
        mut y: Place<'_>,
        kept: &mut Kept,
        scratch: &mut ProjectScratch,
    ) {
        let weight = self.weight();
        let tokens = self.rows.count;
        let ProjectScratch {
            workspace,
            dropped,
            d_dropped,
            d_u,
            ..
        } = scratch;
        let seen = self.dropped(dropped);
        if self.site.mask.is_some() {
            let rest = d_dropped.get(self.x.len());
            difference(self.x, seen, rest);
            let rest = self.matrix(rest);
            linear::forward(weight, rest, y.reborrow(), workspace);
            self.add_origin(rest, y.reborrow(), d_u);
            y = y.adding();
        }
        let seen = self.matrix(seen);
        let size = tokens * weight.rows();
        let mut z = Place::new(kept.z.get(size), tokens, weight.rows());
        linear::forward(weight, seen, z.reborrow(), workspace);
        self.add_origin(seen, z.reborrow(), d_u);
        lora.forward(seen, kept.u.get(tokens * lora.rank()), z);
        kernels::scale(kept.z.read(size), &dora.gain, y);
    }

    /// dx (T, in) from dy (T, out); adds to the gradients of m, A and B.
    pub(super) fn backward_dora(
        self,
        dora: &Dora,
        kept: &Kept,
        dy: Mat<'_>,
        mut dx: Place<'_>,
        mut back: Back<'_>,
    ) {
        let weight = self.weight();
        let size = dy.values().len();
        if let Some(place) = &self.site.places.magnitude {
            let to = &mut back.gradients[place.clone()];
            kernels::magnitude_gradient(dy.values(), kept.z.read(size), &dora.norms, to);
        }
        let mut scaled = mem::take(&mut back.scratch.scaled);
        let mut beyond = mem::take(&mut back.scratch.beyond);
        let dz = scaled.get(size);
        kernels::scale(
            dy.values(),
            &dora.gain,
            Place::new(dz, dy.rows(), dy.columns()),
        );
        let dz = Mat::new(dz, dy.rows(), dy.columns());
        let rest = beyond.get(size);
        // What passes the weight past the dropout, and what is left of dz for the dropped input.
        let (plain, rest) = if self.site.mask.is_some() {
            difference(dz.values(), dy.values(), rest);
            (dy, Some(Mat::new(rest, dy.rows(), dy.columns())))
        } else {
            (dz, None)
        };
        linear::backward(weight, plain, dx.reborrow(), &mut back.scratch.workspace);
        self.subtract_origin_gradient(plain, dx.reborrow(), &mut back.scratch.d_u);
        self.factors(&kept.u, dz, rest, dx, back.reborrow());
        back.scratch.scaled = scaled;
        back.scratch.beyond = beyond;
    }
}
