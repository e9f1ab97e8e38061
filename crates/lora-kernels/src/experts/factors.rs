//! LoRA on the experts' matrices: each expert's factors beside its weight, on the rows that are its own.
use super::Routing;
use crate::gemm::{Gradient, Left, MatRight, Product, outer};
use crate::linear::Workspace;
use crate::matrix::{Mat, Place, Write};
use std::ops::Range;

/// The factors of all experts at one matrix (out, in), or at several of one input whose outputs stand one behind the other:
/// B's rows are then theirs in turn, and A serves them all.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a> {
    /// A, (E, r, in).
    pub a: &'a [f32],
    /// B, (E, out, r).
    pub b: &'a [f32],
    /// r.
    pub rank: usize,
    /// Input features.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
    /// s.
    pub scaling: f32,
}

impl Factors<'_> {
    /// A of an expert, (r, in).
    fn a_of(&self, expert: usize) -> Mat<'_> {
        let part = &self.a[self.place_of_a(expert)];
        Mat::new(part, self.rank, self.in_features)
    }

    /// Some rows of an expert's B, (rows, r).
    fn b_of(&self, expert: usize, rows: &Range<usize>) -> Mat<'_> {
        let part = &self.b[self.place_of_b(expert, rows)];
        Mat::new(part, rows.len(), self.rank)
    }

    fn place_of_a(&self, expert: usize) -> Range<usize> {
        let values = self.rank * self.in_features;
        expert * values..(expert + 1) * values
    }

    fn place_of_b(&self, expert: usize, rows: &Range<usize>) -> Range<usize> {
        let first = expert * self.out_features;
        (first + rows.start) * self.rank..(first + rows.end) * self.rank
    }

    /// u (T·k, r) = x (T·k, in)·Aᵀ, each row with its expert's.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn inner(&self, x: &[f32], routing: &Routing, u: &mut [f32], workspace: &mut Workspace) {
        for (expert, own) in routing.ranges() {
            let x = Left::pack(rows_of(x, &own, self.in_features), 1, &mut workspace.wide);
            let a = self.a_of(expert);
            let to = place_of(u, &own, self.rank);
            Product::new(x, &MatRight::new(a.t())).run(to);
        }
    }

    /// y (T·k, rows) += s·u·Bᵀ for some rows of B.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add(
        &self,
        rows: &Range<usize>,
        u: &[f32],
        routing: &Routing,
        y: &mut [f32],
        workspace: &mut Workspace,
    ) {
        for (expert, own) in routing.ranges() {
            let u = Left::pack(rows_of(u, &own, self.rank), 1, &mut workspace.narrow);
            let b = self.b_of(expert, rows);
            let to = place_of(y, &own, rows.len());
            Product::new(u, &MatRight::scaled(b.t(), self.scaling)).run(to.adding());
        }
    }

    /// du (T·k, r) = s·dy (T·k, rows)·B for some rows of B; added if told.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn inner_gradient(
        &self,
        rows: &Range<usize>,
        dy: &[f32],
        routing: &Routing,
        (du, write): (&mut [f32], Write),
        workspace: &mut Workspace,
    ) {
        for (expert, own) in routing.ranges() {
            let dy = Left::pack(rows_of(dy, &own, rows.len()), 1, &mut workspace.wide);
            let b = self.b_of(expert, rows);
            let to = place_of(du, &own, self.rank);
            Product::new(dy, &MatRight::scaled(b, self.scaling)).run(to.with(write));
        }
    }

    /// dx (T·k, in) += du·A.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add_input_gradient(
        &self,
        du: &[f32],
        routing: &Routing,
        dx: &mut [f32],
        workspace: &mut Workspace,
    ) {
        for (expert, own) in routing.ranges() {
            let du = Left::pack(rows_of(du, &own, self.rank), 1, &mut workspace.narrow);
            let to = place_of(dx, &own, self.in_features);
            Product::new(du, &MatRight::new(self.a_of(expert))).run(to.adding());
        }
    }

    /// dA (E, r, in) += duᵀ·x.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn a_gradient(&self, x: &[f32], du: &[f32], routing: &Routing, da: &mut [f32]) {
        for (expert, own) in routing.ranges() {
            let to = &mut da[self.place_of_a(expert)];
            let to = Place::new(to, self.rank, self.in_features);
            let (x, du) = (
                rows_of(x, &own, self.in_features),
                rows_of(du, &own, self.rank),
            );
            outer(x, du, 1.0, Gradient::ByRank(to));
        }
    }

    /// dB (E, out, r) += s·dyᵀ·u in some rows of each expert's.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn b_gradient(
        &self,
        rows: &Range<usize>,
        dy: &[f32],
        u: &[f32],
        routing: &Routing,
        db: &mut [f32],
    ) {
        for (expert, own) in routing.ranges() {
            let to = &mut db[self.place_of_b(expert, rows)];
            let to = Place::new(to, rows.len(), self.rank);
            let (dy, u) = (rows_of(dy, &own, rows.len()), rows_of(u, &own, self.rank));
            outer(dy, u, self.scaling, Gradient::ByFeature(to));
        }
    }
}

/// Some rows of values that are so wide.
fn rows_of<'v>(values: &'v [f32], rows: &Range<usize>, width: usize) -> Mat<'v> {
    let own = &values[rows.start * width..rows.end * width];
    Mat::new(own, rows.len(), width)
}

fn place_of<'v>(values: &'v mut [f32], rows: &Range<usize>, width: usize) -> Place<'v> {
    let own = &mut values[rows.start * width..rows.end * width];
    Place::new(own, rows.len(), width)
}
