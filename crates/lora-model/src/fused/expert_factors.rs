//! The factors beside a mixture's weights, forward and backward: what they add, and their gradients. What they make of their
//! input is made again on the way back.
use super::buffers::Buffer;
use super::expert_sites::{ExpertSite, MixtureSite};
use super::mixture::Mixture;
use lora_kernels::adapted::Adapted;
use lora_kernels::experts::{self, Routing};
use lora_kernels::linear::{self, Workspace};
use lora_kernels::lora::Gradients;
use lora_kernels::matrix::{Mat, Place, Write};
use std::ops::Range;

/// Values of gate and up, or their gradients, (T·k, I) each: their B's rows stand one behind the other.
pub(super) struct Both<V> {
    pub(super) gate: V,
    pub(super) up: V,
}

/// Memory of the factors: x·Aᵀ and its gradient.
pub(super) struct Inner<'s> {
    pub(super) u: &'s mut Buffer,
    pub(super) d_u: &'s mut Buffer,
    pub(super) workspace: &'s mut Workspace,
}

/// The router's logits (T, E) of x (T, H).
pub(super) fn router(
    site: &MixtureSite<'_>,
    mixture: &Mixture<'_>,
    x: Mat<'_>,
    logits: Place<'_>,
    inner: &mut Inner<'_>,
) {
    let Some((lora, _)) = &site.router else {
        return linear::forward(&mixture.router, x, logits, inner.workspace);
    };
    let adapted = Adapted {
        weight: &mixture.router,
        lora: *lora,
        x,
    };
    let u = inner.u.get(x.rows() * lora.rank());
    adapted.forward(None, u, logits, inner.workspace);
}

/// dx (T, H) = the gradient of what the router reads, from that of its logits (T, E); `x` is what it read, which matters only
/// where something trains.
pub(super) fn router_backward(
    site: &MixtureSite<'_>,
    mixture: &Mixture<'_>,
    (x, d_logits): (Mat<'_>, Mat<'_>),
    dx: Place<'_>,
    gradients: &mut [f32],
    inner: &mut Inner<'_>,
) {
    let Some((lora, places)) = &site.router else {
        return linear::backward(&mixture.router, d_logits, dx, inner.workspace);
    };
    let adapted = Adapted {
        weight: &mixture.router,
        lora: *lora,
        x,
    };
    let values = x.rows() * lora.rank();
    let u = inner.u.get(values);
    adapted.inner(u, inner.workspace);
    let u = Mat::new(u, x.rows(), lora.rank());
    let [a, b] = places.of(gradients);
    let to = Gradients {
        u: inner.d_u.get(values),
        a,
        b,
    };
    adapted.backward(u, d_logits, dx, to, inner.workspace);
}

impl ExpertSite<'_> {
    /// Rows of B for gate and for up.
    fn halves(&self) -> Both<Range<usize>> {
        let (half, all) = (self.factors.out_features / 2, self.factors.out_features);
        Both {
            gate: 0..half,
            up: half..all,
        }
    }

    /// gate and up (T·k, I) += s·x·Aᵀ·Bᵀ, x (T·k, H).
    pub(super) fn add_to_both(
        &self,
        x: &[f32],
        routing: &Routing,
        to: Both<&mut [f32]>,
        inner: &mut Inner<'_>,
    ) {
        let u = inner.u.get(routing.len() * self.factors.rank);
        let workspace = &mut *inner.workspace;
        self.factors.inner(x, routing, u, workspace);
        let rows = self.halves();
        for (rows, y) in [(rows.gate, to.gate), (rows.up, to.up)] {
            self.factors.add(&rows, u, routing, y, workspace);
        }
    }

    /// Gradients of A and B from those of gate and up, and that of x·Aᵀ, in `inner`.
    pub(super) fn gradients_of_both(
        &self,
        x: &[f32],
        routing: &Routing,
        d: &Both<&[f32]>,
        gradients: &mut [f32],
        inner: &mut Inner<'_>,
    ) {
        let values = routing.len() * self.factors.rank;
        let (u, du) = (inner.u.get(values), inner.d_u.get(values));
        let workspace = &mut *inner.workspace;
        let [a, b] = self.places.of(gradients);
        self.factors.inner(x, routing, u, workspace);
        let rows = self.halves();
        let both = [
            (rows.gate, d.gate, Write::Replace),
            (rows.up, d.up, Write::Add),
        ];
        for (rows, dy, write) in both {
            let to = (&mut du[..], write);
            self.factors
                .inner_gradient(&rows, dy, routing, to, workspace);
            self.factors.b_gradient(&rows, dy, u, routing, b);
        }
        self.factors.a_gradient(x, du, routing, a);
    }

    /// dx (T·k, H) += du·A, du as [`Self::gradients_of_both`] left it.
    pub(super) fn add_input_gradient(
        &self,
        routing: &Routing,
        dx: &mut [f32],
        inner: &mut Inner<'_>,
    ) {
        let du = inner.d_u.read(routing.len() * self.factors.rank);
        let workspace = &mut *inner.workspace;
        self.factors.add_input_gradient(du, routing, dx, workspace);
    }

    /// y (T·k, H) += s·x·Aᵀ·Bᵀ, x (T·k, I).
    pub(super) fn add(&self, x: &[f32], routing: &Routing, y: &mut [f32], inner: &mut Inner<'_>) {
        let u = inner.u.get(routing.len() * self.factors.rank);
        let workspace = &mut *inner.workspace;
        self.factors.inner(x, routing, u, workspace);
        let all = 0..self.factors.out_features;
        self.factors.add(&all, u, routing, y, workspace);
    }

    /// The way back of [`Self::add`]: dx (T·k, I) += du·A, from dy (T·k, H) before the weights of the choice, which the
    /// gradients of A and B have.
    pub(super) fn backward(
        &self,
        (x, dy): (&[f32], &[f32]),
        routing: &Routing,
        dx: &mut [f32],
        gradients: &mut [f32],
        inner: &mut Inner<'_>,
    ) {
        let values = routing.len() * self.factors.rank;
        let (u, du) = (inner.u.get(values), inner.d_u.get(values));
        let workspace = &mut *inner.workspace;
        let [a, b] = self.places.of(gradients);
        let all = 0..self.factors.out_features;
        self.factors.inner(x, routing, u, workspace);
        let to = (&mut du[..], Write::Replace);
        self.factors
            .inner_gradient(&all, dy, routing, to, workspace);
        self.factors.add_input_gradient(du, routing, dx, workspace);
        experts::scale_rows(u, routing);
        experts::scale_rows(du, routing);
        self.factors.b_gradient(&all, dy, u, routing, b);
        self.factors.a_gradient(x, du, routing, a);
    }
}
