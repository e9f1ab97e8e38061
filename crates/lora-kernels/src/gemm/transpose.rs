//! Rows become panels: the inner dimension first. In plain Rust; `transpose_avx2` does it in vectors.

/// Rows of `steps` values of 32 bits, `stride` apart; they need not be aligned.
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

/// The second of a pair of bfloat16: the upper half of 32 bits.
pub(super) const UPPER: u32 = 0xFFFF_0000;

/// See [`Transpose`]. With PAIRS each value of a row is two of bfloat16, and becomes two steps of the panel.
///
/// # Safety
/// See [`Transpose`].
pub(super) unsafe fn transpose<const PAIRS: bool>(from: From, to: Panel) {
    for k in 0..from.steps {
        for row in 0..to.width {
            // SAFETY: inside the rows and the panel, as the caller vouches.
            unsafe {
                let bits = if row < from.rows {
                    let at = from.pointer.add(row * from.stride + k);
                    at.cast::<u32>().read_unaligned()
                } else {
                    0
                };
                let to_step = |step: usize, bits: u32| {
                    *to.pointer.add(step * to.width + row) = f32::from_bits(bits);
                };
                if PAIRS {
                    to_step(2 * k, bits << 16);
                    to_step(2 * k + 1, bits & UPPER);
                } else {
                    to_step(k, bits);
                }
            }
        }
    }
}
