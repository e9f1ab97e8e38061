//! One linear layer with what trains at it, forward and backward. With d the dropout of the adapter's input:
//! y = x·Wᵀ + s·(d(x)·Aᵀ)·Bᵀ + bias; where what is read is multiplied by a number, y without it, the bias over it. With DoRA
//! it is another sum, which `project_dora` computes.
use super::buffers::{Buffer, Kept};
use super::dropout::{RowsOf, drop_rows};
use super::scratch::ProjectScratch;
use super::site::Site;
use super::weights::Linear;
use lora_kernels::adapted::Adapted;
use lora_kernels::lora::{Gradients, Lora};
use lora_kernels::matrix::{Mat, Place};
use lora_kernels::{Rows, dora, linear, vector};

/// A linear layer, what trains at it, and its input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied<'p> {
    pub(super) site: &'p Site<'p>,
    pub(super) linear: &'p Linear<'p>,
    pub(super) rows: RowsOf,
    /// (T, in).
    pub(super) x: &'p [f32],
}

/// Where a backward pass adds to the adapter's gradients, and its scratch.
#[derive(Debug)]
pub(super) struct Back<'m> {
    /// Of all of the adapter's parameters.
    pub(super) gradients: &'m mut [f32],
    pub(super) scratch: &'m mut ProjectScratch,
}

impl Back<'_> {
    /// The same, for a shorter time.
    pub(super) fn reborrow(&mut self) -> Back<'_> {
        Back {
            gradients: self.gradients,
            scratch: self.scratch,
        }
    }
}

impl<'p> Applied<'p> {
    /// The layer's output goes to y (T, out); `kept` is for the backward pass.
    pub(super) fn forward(self, mut y: Place<'_>, kept: &mut Kept, scratch: &mut ProjectScratch) {
        match (&self.site.lora, self.site.dora) {
            (None, _) => {
                let workspace = &mut scratch.workspace;
                linear::forward(self.weight(), self.input(), y.reborrow(), workspace);
            }
            (Some(lora), None) => self.forward_lora(lora, y.reborrow(), kept, scratch),
            (Some(lora), Some(dora)) => {
                self.forward_dora(lora, dora, y.reborrow(), kept, scratch);
            }
        }
        if let Some((bias, lora)) = self.site.lora_bias.zip(self.site.lora.as_ref()) {
            let gain = lora.scaling * self.linear.bias_gain;
            linear::add_bias(&times(bias, gain), y.values());
        }
        match (&self.linear.bias, self.linear.bias_gain) {
            (Some(bias), 1.0) => linear::add_bias(bias, y.values()),
            (Some(bias), gain) => linear::add_bias(&times(bias, gain), y.values()),
            (None, _) => {}
        }
    }

    fn forward_lora(
        self,
        lora: &Lora<'_>,
        mut y: Place<'_>,
        kept: &mut Kept,
        scratch: &mut ProjectScratch,
    ) {
        let mask = self.site.mask.as_ref();
        let seen = mask.map(|_| self.matrix(self.dropped(&mut scratch.dropped)));
        let u = kept.u.get(self.rows.count * lora.rank());
        self.adapted(lora)
            .forward(seen, u, y.reborrow(), &mut scratch.workspace);
        self.add_origin(self.input(), y, &mut scratch.d_u);
    }

    /// The gradient through the layer of dy (T, out) goes to dx (T, in); adds to the gradients of what trains. `kept` is
    /// that of the forward pass.
    pub(super) fn backward(self, kept: &Kept, dy: &[f32], mut dx: Place<'_>, mut back: Back<'_>) {
        let dy = Mat::new(dy, self.rows.count, self.weight().rows());
        self.whole_gradients(dy, back.gradients);
        if let Some(dora) = self.site.dora {
            return self.backward_dora(dora, kept, dy, dx, back);
        }
        match (&self.site.lora, &self.site.places.factors) {
            (Some(lora), Some(places)) if self.site.mask.is_none() => {
                let [a, b] = places.of(back.gradients);
                let ProjectScratch { workspace, d_u, .. } = &mut *back.scratch;
                let u = self.inner(&kept.u, lora);
                let to = Gradients {
                    u: d_u.get(u.values().len()),
                    a,
                    b,
                };
                self.adapted(lora)
                    .backward(u, dy, dx.reborrow(), to, workspace);
            }
            _ => {
                let workspace = &mut back.scratch.workspace;
                linear::backward(self.weight(), dy, dx.reborrow(), workspace);
                self.factors(&kept.u, dy, None, dx.reborrow(), back.reborrow());
            }
        }
        self.subtract_origin_gradient(dy, dx, &mut back.scratch.d_u);
    }

    /// Gradients of the weight and of the biases.
    fn whole_gradients(self, dy: Mat<'_>, gradients: &mut [f32]) {
        let places = &self.site.places;
        if let Some(place) = &places.weight {
            linear::weight_gradient(self.input(), dy, &mut gradients[place.clone()]);
        }
        if let Some(patched) = &self.site.patched {
            patched.head_gradient(self.input(), dy, gradients);
        }
        if let Some(place) = &places.bias {
            let gain = self.linear.bias_gain;
            dora::bias_gradient(dy.values(), gain, &mut gradients[place.clone()]);
        }
        if let Some((place, lora)) = places.lora_bias.as_ref().zip(self.site.lora.as_ref()) {
            let gain = lora.scaling * self.linear.bias_gain;
            dora::bias_gradient(dy.values(), gain, &mut gradients[place.clone()]);
        }
    }

    /// Gradients of A and B from dz (T, out), the gradient of what they add to; dx += the part that goes through them, and
    /// through rest·W, which sees the dropped input as they do (DoRA).
    pub(super) fn factors(
        self,
        u: &Buffer,
        dz: Mat<'_>,
        rest: Option<Mat<'_>>,
        dx: Place<'_>,
        back: Back<'_>,
    ) {
        let Some((lora, places)) = self
            .site
            .lora
            .as_ref()
            .zip(self.site.places.factors.as_ref())
        else {
            return;
        };
        let [a, b] = places.of(back.gradients);
        let ProjectScratch {
            workspace,
            dropped,
            d_u,
            d_dropped,
            ..
        } = back.scratch;
        let u = self.inner(u, lora);
        let d_inner = d_u.get(u.values().len());
        let to = Gradients { u: d_inner, a, b };
        lora.backward(self.matrix(self.dropped(dropped)), u, dz, to);
        let d_inner = Mat::new(d_u.read(u.values().len()), u.rows(), u.columns());
        let Some(mask) = self.site.mask else {
            return lora.backward_input(d_inner, dx.adding());
        };
        let width = self.weight().columns();
        let mut to = Place::new(d_dropped.get(self.x.len()), self.rows.count, width);
        lora.backward_input(d_inner, to.reborrow());
        if let Some(rest) = rest {
            linear::backward(self.weight(), rest, to.reborrow().adding(), workspace);
            self.subtract_origin_gradient(rest, to, d_u);
        }
        let through_mask = dropped.get(self.x.len());
        drop_rows(mask, self.rows, d_dropped.read(self.x.len()), through_mask);
        let mut dx = dx;
        vector::add(dx.values(), through_mask);
    }

    /// y −= what was taken out of the weight, for the input x.
    pub(super) fn add_origin(self, x: Mat<'_>, y: Place<'_>, d_u: &mut Buffer) {
        if let Some(origin) = &self.site.origin {
            origin.forward(x, d_u.get(x.rows() * origin.rank()), y);
        }
    }

    /// The same on the way back: dx −= its part of the gradient of dy.
    pub(super) fn subtract_origin_gradient(self, dy: Mat<'_>, dx: Place<'_>, d_u: &mut Buffer) {
        if let Some(origin) = &self.site.origin {
            origin.backward_constant(dy, d_u.get(dy.rows() * origin.rank()), dx);
        }
    }

    /// The input that A sees.
    pub(super) fn dropped<'s>(&'s self, buffer: &'s mut Buffer) -> &'s [f32] {
        let Some(mask) = self.site.mask else {
            return self.x;
        };
        let out = buffer.get(self.x.len());
        drop_rows(mask, self.rows, self.x, out);
        out
    }

    /// The weight that trains, or the base's.
    pub(super) fn weight(self) -> &'p dyn Rows {
        self.site.weight(&self.linear.weight)
    }

    fn input(self) -> Mat<'p> {
        self.matrix(self.x)
    }

    /// Values of the input's shape, (T, in).
    pub(super) fn matrix<'x>(self, values: &'x [f32]) -> Mat<'x> {
        Mat::new(values, self.rows.count, self.weight().columns())
    }

    /// x·Aᵀ, (T, r).
    fn inner<'u>(self, u: &'u Buffer, lora: &Lora<'_>) -> Mat<'u> {
        let (rows, rank) = (self.rows.count, lora.rank());
        Mat::new(u.read(rows * rank), rows, rank)
    }

    fn adapted(self, lora: &Lora<'p>) -> Adapted<'p> {
        Adapted {
            weight: self.weight(),
            lora: *lora,
            x: self.input(),
        }
    }
}

fn times(values: &[f32], factor: f32) -> Vec<f32> {
    values.iter().map(|value| factor * value).collect()
}
