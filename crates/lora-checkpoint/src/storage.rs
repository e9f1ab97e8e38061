//! How values are stored in a file.
use candle_core::quantized::GgmlDType;

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageDtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// GGUF blocks, read in place.
    Quantised(GgmlDType),
    /// GGUF blocks of MXFP4 (OCP Microscaling Formats 1.0), read in place: 32 values of 4 bits behind the exponent that they
    /// share.
    Mxfp4,
    /// The same as folders of transformers have it: 16 bytes a block with neighbours in each, and the exponents in a tensor of
    /// their own.
    Mxfp4Apart,
}

impl StorageDtype {
    /// (values, bytes) of the smallest unit that can be read alone.
    pub(crate) fn unit(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Quantised(dtype) => (dtype.block_size(), dtype.type_size()),
            Self::Mxfp4 => (32, 17),
            Self::Mxfp4Apart => (32, 16),
        }
    }

    /// Whether values are rounded to blocks.
    #[must_use]
    pub fn is_quantised(self) -> bool {
        matches!(self, Self::Quantised(_) | Self::Mxfp4 | Self::Mxfp4Apart)
    }
}
