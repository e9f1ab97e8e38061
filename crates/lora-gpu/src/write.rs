//! What becomes of the values that stand where a result goes.

/// What happens to what stands where a result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It is overwritten.
    Replace,
    /// The result is added to it.
    Add,
}
