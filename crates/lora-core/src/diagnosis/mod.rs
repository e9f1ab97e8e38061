//! What is said of an adapter that does not fit: the true cause as far as names and shapes tell it, and a way out.
mod names;
mod prefix;
mod shapes;

pub(crate) use names::{Missing, unexpected};
pub(crate) use prefix::foreign;
pub(crate) use shapes::{Shapes, wrong_shape};

/// What remains when nothing else explains it: a hint.
pub(crate) const OTHER_BASE: &str = "the adapter was probably trained on another base model";

/// The same with the base that the adapter's config names.
pub(crate) fn other_base(named: Option<&str>) -> String {
    match named {
        Some(name) => format!("{OTHER_BASE}: its config names {name}"),
        None => OTHER_BASE.to_owned(),
    }
}
