//! Products of matrices in memory.
use crate::gemm::{Left, MatRight, Product};
use crate::matrix::{Mat, Place};
use std::cell::RefCell;

thread_local! {
    /// A packed left operand. It is taken out while in use: a thread that waits may begin another product.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// scale · left · right goes to its place. Threads of the current rayon pool share the work; they split the output, so the
/// result does not depend on their number.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(left: Mat<'_>, right: Mat<'_>, scale: f32, to: Place<'_>) {
    let mut memory = PACKED.take();
    let packed = Left::pack(left, 1, &mut memory);
    Product::new(packed, &MatRight::new(right))
        .scaled(scale)
        .run(to);
    PACKED.set(memory);
}
