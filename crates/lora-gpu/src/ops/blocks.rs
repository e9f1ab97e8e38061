//! Weights widened to activations.
use super::{Args, check_mat, check_tensor, over_values};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// How a weight's values lie in a file: plain types, and llama.cpp's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Widen {
    /// f32.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 values of 4 bits around 8, and a scale.
    Q4_0,
    /// 32 values of 4 bits, a scale and a minimum.
    Q4_1,
    /// 32 values of 8 bits and a scale.
    Q8_0,
    /// 256 values of 4 bits, by 32 with scales and minima of 6 bits.
    Q4K,
    /// 256 values of 5 bits, by 32 with scales and minima of 6 bits.
    Q5K,
    /// 256 values of 6 bits, by 16 with scales of 8 bits.
    Q6K,
    /// MXFP4 (OCP Microscaling Formats 1.0): 32 floats of 4 bits behind the exponent that they share.
    Mxfp4,
}

impl Widen {
    /// Values and bytes of a block.
    #[must_use]
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Mxfp4 => (32, 17),
        }
    }

    fn kernel(self) -> &'static str {
        match self {
            Self::F32 => "widen_f32",
            Self::F16 => "widen_f16",
            Self::Bf16 => "widen_bf16",
            Self::Q4_0 => "widen_q4_0",
            Self::Q4_1 => "widen_q4_1",
            Self::Q8_0 => "widen_q8_0",
            Self::Q4K => "widen_q4k",
            Self::Q5K => "widen_q5k",
            Self::Q6K => "widen_q6k",
            Self::Mxfp4 => "widen_mxfp4",
        }
    }
}

impl Gpu {
    /// The values of `blocks`, bytes as they lie in a file from `first_byte` on, row after row: `to` is (rows, columns) of
    /// activations, its columns a multiple of a block's values.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes or types don't fit.
    pub fn widen(
        &self,
        kind: Widen,
        blocks: &Tensor,
        first_byte: usize,
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let (values, bytes) = kind.block();
        let (rows, columns) = (to.rows(), to.columns());
        assert!(
            columns.is_multiple_of(values),
            "rows of {columns} in blocks of {values}"
        );
        check_mat("weight", to, self.dtype(), rows, columns);
        let end = first_byte + rows * (columns / values) * bytes;
        check_tensor("blocks", blocks, Dtype::U8, end);
        let (rows, columns) = super::flat(&[to]);
        let args = Args::new()
            .tensor(blocks, first_byte)
            .mat(to)
            .long(rows)
            .long(columns);
        // A thread takes eight values, where elsewhere it takes four.
        self.launch(kind.kernel(), over_values(rows, columns.div_ceil(2)), &args)
    }
}
