//! What a model loses though it is written in its own type: weights that are stored in a wider one than its matrices.
use super::encode::{SaveDtype, rounds};
use crate::storage::StorageDtype;
use crate::view::TensorView;
use crate::{Checkpoint, Error};

/// Watches the weights that are written. One that is rounded because the caller chose another type than the model's own
/// is not counted: that was asked for.
pub(super) struct Rounding {
    /// The model's own type, if it is the one that is written.
    own: Option<SaveDtype>,
    /// Weights that lost bits.
    rounded: Vec<String>,
}

impl Rounding {
    pub(super) fn watch(model: &Checkpoint, written: StorageDtype) -> Result<Self, Error> {
        let own = SaveDtype::of(model)?;
        Ok(Self {
            own: (own.storage() == written).then_some(own),
            rounded: Vec::new(),
        })
    }

    /// Whether the model is written in its own type.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Sees some rows of a weight as the source has them.
    pub(super) fn see(&mut self, view: &TensorView<'_>, rows: &[f32]) {
        let Some(own) = self.own else {
            return;
        };
        let is_float = !view.dtype().is_quantised();
        if !is_float || view.dtype() == own.storage() {
            return;
        }
        let is_known = self.rounded.last().is_some_and(|name| name == view.name());
        if !is_known && rounds(own, rows) {
            self.rounded.push(view.name().to_owned());
        }
    }

    /// Says what was lost.
    pub(super) fn warning(&self) -> Option<String> {
        let (own, first) = (self.own?, self.rounded.first()?);
        let others = match self.rounded.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(format!(
            "{first}{others}: stored in a wider type than the matrices, rounded to {}; f32 keeps them",
            own.torch_name()
        ))
    }
}
