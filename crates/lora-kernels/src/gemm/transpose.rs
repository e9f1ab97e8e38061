//! Rows become panels: the inner dimension first. In plain Rust; `transpose_avx2` does it in vectors.

/// Rows of `steps` values, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    pub(super) pointer: *const f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) steps: usize,
}

/// A panel: in each step `width` values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    pub(super) pointer: *mut f32,
    pub(super) width: usize,
}

/// A way to transpose rows into a panel, zero behind the rows.
///
/// # Safety
/// All values of the rows and all steps of the panel must be valid, and the machine must have the instruction set.
pub(super) type Transpose = unsafe fn(From, Panel);

/// See [`Transpose`].
///
/// # Safety
/// See [`Transpose`].
pub(super) unsafe fn transpose(from: From, to: Panel) {
    for k in 0..from.steps {
        for row in 0..to.width {
            // SAFETY: inside the rows and the panel, as the caller vouches.
            unsafe {
                let value = if row < from.rows {
                    *from.pointer.add(row * from.stride + k)
                } else {
                    0.0
                };
                *to.pointer.add(k * to.width + row) = value;
            }
        }
    }
}
