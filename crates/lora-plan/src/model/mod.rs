//! Models as far as a plan needs them: their shape.
pub(crate) mod known;
pub(crate) mod shape;
