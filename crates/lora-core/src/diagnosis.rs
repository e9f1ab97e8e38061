//! What is said of an adapter that does not fit.

pub(crate) const OTHER_BASE: &str =
    "\nhint: the adapter was probably trained on another base model";
