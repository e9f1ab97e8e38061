//! The product: cut into tasks of some columns by some rows, which threads share.
#[cfg(test)]
use super::isa::Kernels;
use super::isa::best;
use super::left::Left;
use super::right::Right;
use super::running::{Operands, Running, Scratch};
use super::split::Split;
use crate::matrix::Place;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// scale · (left · right + extra), where the extra part is a second product of few inner steps that is added while the tile
/// is in registers.
#[derive(Clone, Copy)]
pub(crate) struct Product<'p> {
    operands: Operands<'p>,
    /// Computed by the thread that asks.
    is_alone: bool,
}

impl<'p> Product<'p> {
    /// left · right.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn new(left: Left<'p>, right: &'p dyn Right) -> Self {
        assert!(
            left.block.is_multiple_of(right.units().0),
            "blocks of {} in units of {:?}",
            left.block,
            right.units()
        );
        Self {
            operands: Operands {
                kernels: best(),
                scale: 1.0,
                left,
                right,
                extra: None,
            },
            is_alone: false,
        }
    }

    /// On this thread alone: one of many products that threads share.
    pub(crate) fn alone(self) -> Self {
        Self {
            is_alone: true,
            ..self
        }
    }

    pub(crate) fn scaled(mut self, scale: f32) -> Self {
        self.operands.scale = scale;
        self
    }

    /// With left · right as the extra part.
    ///
    /// # Panics
    /// If its inner steps are more than a block.
    pub(crate) fn and(mut self, left: Left<'p>, right: &'p dyn Right) -> Self {
        assert!(
            left.is_one_block(),
            "an extra part of {} steps is more than a block",
            left.k
        );
        self.operands.extra = Some((left, right));
        self
    }

    /// With other kernels, for which the left operand must be packed.
    #[cfg(test)]
    pub(super) fn with(mut self, kernels: &'static Kernels) -> Self {
        self.operands.kernels = kernels;
        self
    }

    /// Computes it. Threads of the current rayon pool share the work.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn run(self, to: Place<'_>) {
        let Operands {
            kernels,
            left,
            right,
            extra,
            ..
        } = self.operands;
        assert_shapes(&to, left, right);
        if let Some((left, right)) = extra {
            assert_shapes(&to, left, right);
        }
        assert!(
            left.panel_rows == kernels.rows,
            "the left operand is packed for other tiles"
        );
        let columns = to.columns();
        if to.rows() == 0 || columns == 0 {
            return;
        }
        let threads = match self.is_alone {
            true => 1,
            false => rayon::current_num_threads(),
        };
        let step = kernels.columns.max(right.units().1);
        let split = Split::of(columns, step, left.panels(), threads);
        let running = Running {
            operands: self.operands,
            columns,
            write: to.write(),
            to: SharedMut::new(to.into_values()),
        };
        let run = |task: usize| {
            SCRATCH.with_borrow_mut(|scratch| running.region(&split.task(task), scratch));
        };
        if threads == 1 {
            return (0..split.tasks()).for_each(run);
        }
        (0..split.tasks())
            .into_par_iter()
            .with_max_len(1)
            .for_each(run);
    }
}

fn assert_shapes(to: &Place<'_>, left: Left<'_>, right: &dyn Right) {
    let (rows, columns, (k, n)) = (to.rows(), to.columns(), right.shape());
    assert!(
        rows == left.rows && columns == n && left.k == k,
        "product: ({rows}, {columns}) = ({}, {}) · ({k}, {n})",
        left.rows,
        left.k
    );
}
