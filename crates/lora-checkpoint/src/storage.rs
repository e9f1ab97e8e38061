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
}

impl StorageDtype {
    /// (values, bytes) of the smallest unit that can be read alone.
    pub(crate) fn unit(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Quantised(dtype) => (dtype.block_size(), dtype.type_size()),
        }
    }
}
