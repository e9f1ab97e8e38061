//! The token embedding, with what trains at it.
use super::buffers::Kept;
use super::matrix::Matrix;
use super::project::Back;
use super::site::Site;
use lora_kernels::matmul::matmul;
use lora_kernels::matrix::{Mat, Place};
use lora_kernels::{dora, embedding};

/// The embedding of some tokens: x (T, H) = scale · g∘(E[id] + s·B·A[:, id]), g = 1 without DoRA.
#[derive(Debug, Clone, Copy)]
pub(super) struct Embedding<'e> {
    pub(super) site: &'e Site<'e>,
    pub(super) ids: &'e [u32],
    pub(super) scale: f32,
}

impl Embedding<'_> {
    /// x (T, H) from the base's table; `kept` is for the backward pass.
    pub(super) fn forward(self, base: &Matrix<'_>, x: &mut [f32], kept: &mut Kept) {
        let Self { site, ids, scale } = self;
        let table = site.weight(base);
        let Some(lora) = &site.lora else {
            return embedding::forward(table, ids, scale, x);
        };
        embedding::forward(table, ids, 1.0, x);
        let (t, h, r) = (ids.len(), table.columns(), lora.rank());
        let u = kept.u.get(t * r);
        embedding::gather_columns(lora.a.values(), r, ids, u);
        let to = Place::new(x, t, h).adding();
        matmul(Mat::new(u, t, r), lora.b.t(), lora.scaling, to);
        if let Some(dora) = site.dora {
            kept.z.set(x);
            let z = kept.z.read(x.len());
            dora::scale(z, &dora.gain, Place::new(x, t, h));
        }
        if scale != 1.0 {
            x.iter_mut().for_each(|v| *v *= scale);
        }
    }

    /// Adds to the gradients of what trains here, from dx (T, H), which is used as scratch.
    pub(super) fn backward(self, dx: &mut [f32], kept: &Kept, back: Back<'_>) {
        let Self { site, ids, scale } = self;
        let Back { gradients, scratch } = back;
        let t = ids.len();
        let h = dx.len() / t.max(1);
        if let Some(place) = &site.places.weight {
            embedding::scatter_rows(dx, h, ids, scale, &mut gradients[place.clone()]);
        }
        if let Some(patched) = &site.patched {
            patched.embedding_gradient(dx, ids, scale, gradients);
        }
        let Some((lora, places)) = site.lora.as_ref().zip(site.places.factors.as_ref()) else {
            return;
        };
        dx.iter_mut().for_each(|v| *v *= scale);
        if let Some((dora, place)) = site.dora.zip(site.places.magnitude.as_ref()) {
            let to = &mut gradients[place.clone()];
            dora::magnitude_gradient(dx, kept.z.read(dx.len()), &dora.norms, to);
        }
        let dz = match site.dora {
            None => &*dx,
            Some(dora) => {
                let scaled = scratch.scaled.get(dx.len());
                dora::scale(dx, &dora.gain, Place::new(scaled, t, h));
                scaled
            }
        };
        let r = lora.rank();
        let dz = Mat::new(dz, t, h);
        let d_u = scratch.d_u.get(t * r);
        matmul(dz, lora.b, lora.scaling, Place::new(d_u, t, r));
        let [da, db] = places.of(gradients);
        let u = Mat::new(kept.u.read(t * r), t, r);
        matmul(dz.t(), u, lora.scaling, Place::new(db, h, r).adding());
        embedding::scatter_columns(d_u, r, ids, da);
    }
}
