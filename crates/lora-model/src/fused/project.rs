//! One linear layer with what trains at it, forward and backward. With d the dropout of the adapter's input and g = m/‖W + s·B·A‖:
//! - LoRA: y = x·Wᵀ + s·(d(x)·Aᵀ)·Bᵀ + bias
//! - DoRA: y = (x − d(x))·Wᵀ + g∘z + bias, z = d(x)·Wᵀ + s·(d(x)·Aᵀ)·Bᵀ; g's norm is a constant of the gradient
use super::binding::{Dora, Site};
use super::buffers::{Buffer, Kept, ProjectScratch};
use super::weights::Linear;
use lora_kernels::linear::{self, Adapted, Gradients, Lora};
use lora_kernels::{dora, vector};
use lora_random::Mask;
use rayon::prelude::*;

/// The rows of a layer's input: how many, and the first one's number among all (the dropout's key).
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsOf {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// out = mask(x), both (T, in).
fn drop_rows(mask: Mask, rows: RowsOf, x: &[f32], out: &mut [f32]) {
    let width = x.len() / rows.count.max(1);
    out.par_chunks_mut(width.max(1))
        .zip(x.par_chunks(width.max(1)))
        .enumerate()
        .for_each(|(t, (out, x))| mask.apply(((rows.first + t) * width) as u64, x, out));
}

/// out = a − b.
fn difference(a: &[f32], b: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(1 << 14)
        .zip(a.par_chunks(1 << 14))
        .zip(b.par_chunks(1 << 14))
        .for_each(|((out, a), b)| {
            out.iter_mut()
                .zip(a.iter().zip(b))
                .for_each(|(out, (a, b))| *out = a - b);
        });
}

/// A linear layer, what trains at it, and its input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied<'p> {
    pub(super) site: &'p Site<'p>,
    pub(super) linear: &'p Linear<'p>,
    pub(super) rows: RowsOf,
    /// (T, in).
    pub(super) x: &'p [f32],
}

impl Applied<'_> {
    /// y (T, out) = the layer's output, or y += with `accumulate`; `kept` is for the backward pass.
    pub(super) fn forward(
        self,
        y: &mut [f32],
        accumulate: bool,
        kept: &mut Kept,
        scratch: &mut ProjectScratch,
    ) {
        let Self {
            site,
            linear,
            rows,
            x,
        } = self;
        match (&site.lora, site.dora) {
            (Some(lora), Some(dora)) => self.with_dora(lora, dora, y, accumulate, kept, scratch),
            (Some(lora), None) => {
                let weight = site.weight(&linear.weight);
                let seen = site.mask.map(|_| self.dropped(&mut scratch.dropped));
                let u = kept.u.get(rows.count * lora.rank);
                let adapted = Adapted {
                    weight,
                    lora: *lora,
                    x,
                    tokens: rows.count,
                };
                adapted.forward(seen, u, y, accumulate, &mut scratch.workspace);
                self.add_origin(x, y, &mut scratch.d_u);
            }
            (None, _) => {
                linear::forward(
                    site.weight(&linear.weight),
                    x,
                    rows.count,
                    y,
                    accumulate,
                    &mut scratch.workspace,
                );
            }
        }
        if let Some((bias, lora)) = site.lora_bias.zip(site.lora.as_ref()) {
            let scaled: Vec<f32> = bias.iter().map(|b| lora.scaling * b).collect();
            linear::add_bias(&scaled, y);
        }
        if let Some(bias) = &linear.bias {
            linear::add_bias(bias, y);
        }
    }

    /// y −= what was taken out of the weight, for the input x.
    fn add_origin(self, x: &[f32], y: &mut [f32], d_u: &mut Buffer) {
        let Some(origin) = &self.site.origin else {
            return;
        };
        origin.forward(
            x,
            self.rows.count,
            d_u.get(self.rows.count * origin.rank),
            y,
        );
    }

    /// The same on the way back: dx −= its part of the gradient of dy.
    fn subtract_origin_gradient(self, dy: &[f32], dx: &mut [f32], d_u: &mut Buffer) {
        let Some(origin) = &self.site.origin else {
            return;
        };
        origin.backward_constant(
            dy,
            self.rows.count,
            d_u.get(self.rows.count * origin.rank),
            dx,
        );
    }

    /// The input that A sees.
    fn dropped<'s>(&'s self, buffer: &'s mut Buffer) -> &'s [f32] {
        let Some(mask) = self.site.mask else {
            return self.x;
        };
        let out = buffer.get(self.x.len());
        drop_rows(mask, self.rows, self.x, out);
        out
    }

    fn with_dora(
        self,
        lora: &Lora<'_>,
        dora: &Dora,
        y: &mut [f32],
        accumulate: bool,
        kept: &mut Kept,
        scratch: &mut ProjectScratch,
    ) {
        let (weight, count) = (self.site.weight(&self.linear.weight), self.rows.count);
        let (u, z) = (kept.u.get(count * lora.rank), kept.z.get(y.len()));
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
            linear::forward(weight, rest, count, y, accumulate, workspace);
            self.add_origin(rest, y, d_u);
        }
        linear::forward(weight, seen, count, z, false, workspace);
        self.add_origin(seen, z, d_u);
        lora.forward(seen, count, u, z);
        dora::scale(z, &dora.gain, y, accumulate || self.site.mask.is_some());
    }

    /// dx (T, in) = gradient through the layer of dy (T, out), or dx += with `accumulate`; adds to the gradients of what
    /// trains. `kept` is that of the forward pass.
    pub(super) fn backward(
        self,
        kept: &Kept,
        dy: &[f32],
        dx: &mut [f32],
        accumulate: bool,
        gradients: &mut [f32],
        scratch: &mut ProjectScratch,
    ) {
        let Self {
            site,
            linear,
            rows,
            x,
        } = self;
        let weight = site.weight(&linear.weight);
        self.whole_gradients(dy, gradients);
        let Some(dora) = site.dora else {
            match (&site.lora, &site.places.factors) {
                (Some(lora), Some((a, b))) if site.mask.is_none() => {
                    let (head, tail) = gradients.split_at_mut(b.start); // B lies behind A
                    let u = kept.u.read(rows.count * lora.rank);
                    let ProjectScratch { workspace, d_u, .. } = scratch;
                    let to = Gradients {
                        u: d_u.get(u.len()),
                        a: &mut head[a.clone()],
                        b: &mut tail[..b.len()],
                    };
                    let adapted = Adapted {
                        weight,
                        lora: *lora,
                        x,
                        tokens: rows.count,
                    };
                    adapted.backward(u, dy, dx, accumulate, to, workspace);
                }
                _ => {
                    linear::backward(
                        weight,
                        dy,
                        rows.count,
                        dx,
                        accumulate,
                        &mut scratch.workspace,
                    );
                    self.factors(&kept.u, dy, None, dx, gradients, scratch);
                }
            }
            self.subtract_origin_gradient(dy, dx, &mut scratch.d_u);
            return;
        };
        if let Some(place) = &site.places.magnitude {
            dora::magnitude_gradient(
                dy,
                kept.z.read(dy.len()),
                &dora.norms,
                &mut gradients[place.clone()],
            );
        }
        let (mut scaled, mut beyond) = (
            std::mem::take(&mut scratch.scaled),
            std::mem::take(&mut scratch.beyond),
        );
        let (dz, rest) = (scaled.get(dy.len()), beyond.get(dy.len()));
        dora::scale(dy, &dora.gain, dz, false);
        if site.mask.is_some() {
            difference(dz, dy, rest);
            linear::backward(
                weight,
                dy,
                rows.count,
                dx,
                accumulate,
                &mut scratch.workspace,
            );
            self.subtract_origin_gradient(dy, dx, &mut scratch.d_u);
            self.factors(&kept.u, dz, Some(rest), dx, gradients, scratch);
        } else {
            linear::backward(
                weight,
                dz,
                rows.count,
                dx,
                accumulate,
                &mut scratch.workspace,
            );
            self.subtract_origin_gradient(dz, dx, &mut scratch.d_u);
            self.factors(&kept.u, dz, None, dx, gradients, scratch);
        }
        (scratch.scaled, scratch.beyond) = (scaled, beyond);
    }

    /// Gradients of the weight and of the biases.
    fn whole_gradients(self, dy: &[f32], gradients: &mut [f32]) {
        let Self { site, rows, x, .. } = self;
        if let Some(place) = &site.places.weight {
            let columns = x.len() / rows.count.max(1);
            linear::weight_gradient(x, dy, rows.count, &mut gradients[place.clone()], columns);
        }
        if let Some(place) = &site.places.bias {
            dora::bias_gradient(dy, 1.0, &mut gradients[place.clone()]);
        }
        if let Some((place, lora)) = site.places.lora_bias.as_ref().zip(site.lora.as_ref()) {
            dora::bias_gradient(dy, lora.scaling, &mut gradients[place.clone()]);
        }
    }

    /// Gradients of A and B from dz, the gradient of what they add to; dx += the part that goes through them, and through
    /// rest·W, which sees the dropped input as they do (DoRA).
    fn factors(
        self,
        u: &Buffer,
        dz: &[f32],
        rest: Option<&[f32]>,
        dx: &mut [f32],
        gradients: &mut [f32],
        scratch: &mut ProjectScratch,
    ) {
        let Self {
            site,
            linear,
            rows,
            x,
        } = self;
        let Some((lora, (a, b))) = site.lora.as_ref().zip(site.places.factors.as_ref()) else {
            return;
        };
        let (head, tail) = gradients.split_at_mut(b.start); // B lies behind A
        let (da, db) = (&mut head[a.clone()], &mut tail[..b.len()]);
        let u = u.read(rows.count * lora.rank);
        let ProjectScratch {
            workspace,
            dropped,
            d_u,
            d_dropped,
            ..
        } = scratch;
        let d_inner = d_u.get(u.len());
        lora.backward(self.dropped(dropped), u, dz, rows.count, d_inner, da, db);
        let Some(mask) = site.mask else {
            return lora.backward_input(d_inner, rows.count, dx, true);
        };
        let d_dropped = d_dropped.get(x.len());
        lora.backward_input(d_inner, rows.count, d_dropped, false);
        if let Some(rest) = rest {
            linear::backward(
                site.weight(&linear.weight),
                rest,
                rows.count,
                d_dropped,
                true,
                workspace,
            );
            self.subtract_origin_gradient(rest, d_dropped, d_u);
        }
        let back = dropped.get(x.len());
        drop_rows(mask, rows, d_dropped, back);
        vector::add(dx, back);
    }
}
