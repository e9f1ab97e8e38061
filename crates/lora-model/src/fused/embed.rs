//! The token embedding and the output head, with what trains at them.
use super::binding::Site;
use super::buffers::{Kept, ProjectScratch};
use super::project::{Applied, RowsOf};
use super::weights::{Linear, Matrix};
use lora_kernels::loss::Head;
use lora_kernels::matmul::{Mat, MatMut, matmul};
use lora_kernels::{Rows, dora, embedding};

/// x (T, H) = scale · g∘(E[id] + s·B·A[:, id]), g = 1 without DoRA; `kept` is for the backward pass.
pub(super) fn forward(
    site: &Site<'_>,
    base: &Matrix<'_>,
    ids: &[u32],
    scale: f32,
    x: &mut [f32],
    kept: &mut Kept,
) {
    let table = site.weight(base);
    let Some(lora) = &site.lora else {
        return embedding::forward(table, ids, scale, x);
    };
    embedding::forward(table, ids, 1.0, x);
    let (t, h, r) = (ids.len(), table.columns(), lora.rank);
    let u = kept.u.get(t * r);
    embedding::gather_columns(lora.a, r, ids, u);
    let (u, b) = (Mat::new(u, t, r), Mat::new(lora.b, h, r));
    matmul(MatMut::new(x, t, h), true, lora.scaling, u, b.t(), true);
    if let Some(dora) = site.dora {
        kept.z.set(x);
        dora::scale(kept.z.read(x.len()), &dora.gain, x, false);
    }
    if scale != 1.0 {
        x.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Adds to the gradients of what trains at the embedding, from dx (T, H), which is used as scratch.
pub(super) fn backward(
    site: &Site<'_>,
    ids: &[u32],
    scale: f32,
    dx: &mut [f32],
    kept: &Kept,
    gradients: &mut [f32],
    scratch: &mut ProjectScratch,
) {
    let (t, h) = (ids.len(), dx.len() / ids.len().max(1));
    if let Some(place) = &site.places.weight {
        embedding::scatter_rows(dx, h, ids, scale, &mut gradients[place.clone()]);
    }
    let Some((lora, (a, b))) = site.lora.as_ref().zip(site.places.factors.as_ref()) else {
        return;
    };
    dx.iter_mut().for_each(|v| *v *= scale);
    let dz = match site.dora {
        None => &*dx,
        Some(dora) => {
            if let Some(place) = &site.places.magnitude {
                dora::magnitude_gradient(
                    dx,
                    kept.z.read(dx.len()),
                    &dora.norms,
                    &mut gradients[place.clone()],
                );
            }
            dora::scale(dx, &dora.gain, scratch.scaled.get(dx.len()), false);
            scratch.scaled.read(dx.len())
        }
    };
    let r = lora.rank;
    let (u, d_u) = (kept.u.read(t * r), scratch.d_u.get(t * r));
    let dz = Mat::new(dz, t, h);
    matmul(
        MatMut::new(d_u, t, r),
        false,
        lora.scaling,
        dz,
        Mat::new(lora.b, h, r),
        true,
    );
    let db = MatMut::new(&mut gradients[b.clone()], h, r);
    matmul(db, true, lora.scaling, dz.t(), Mat::new(u, t, r), true);
    embedding::scatter_columns(d_u, r, ids, &mut gradients[a.clone()]);
}

/// An output head at which something trains.
pub(super) struct AdaptedHead<'h> {
    pub(super) site: &'h Site<'h>,
    pub(super) linear: &'h Linear<'h>,
    pub(super) kept: &'h mut Kept,
    pub(super) scratch: &'h mut ProjectScratch,
    /// Of the adapter; empty if no gradient is asked for.
    pub(super) gradients: &'h mut [f32],
    /// A copy of the rows on their way back.
    pub(super) rows: Vec<f32>,
}

impl Head for AdaptedHead<'_> {
    fn vocabulary(&self) -> usize {
        self.linear.weight.rows()
    }

    fn width(&self) -> usize {
        self.linear.weight.columns()
    }

    fn forward(&mut self, first: usize, hidden: &[f32], logits: &mut [f32]) {
        let rows = RowsOf {
            first,
            count: hidden.len() / self.width(),
        };
        let applied = Applied {
            site: self.site,
            linear: self.linear,
            rows,
            x: hidden,
        };
        applied.forward(logits, false, self.kept, self.scratch);
    }

    fn backward(&mut self, first: usize, hidden: &mut [f32], d_logits: &[f32]) {
        self.rows.clear();
        self.rows.extend_from_slice(hidden);
        let rows = RowsOf {
            first,
            count: hidden.len() / self.width(),
        };
        let applied = Applied {
            site: self.site,
            linear: self.linear,
            rows,
            x: &self.rows,
        };
        applied.backward(
            self.kept,
            d_logits,
            hidden,
            false,
            self.gradients,
            self.scratch,
        );
    }
}
