//! The types in which GGUF stores a tensor, with ggml's codes and names.
use crate::storage::StorageDtype;
use candle_core::quantized::GgmlDType;

/// How a tensor is stored in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GgufDtype {
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// Blocks of 32 values in 8 bits with one f16 scale.
    Q8_0,
    /// Blocks of 32 values in 5 bits with one f16 scale and an f16 least value.
    Q5_1,
    /// Blocks of 32 values in 5 bits with one f16 scale.
    Q5_0,
    /// Blocks of 32 values in 4 bits with one f16 scale and an f16 least value.
    Q4_1,
    /// Blocks of 32 values in 4 bits with one f16 scale.
    Q4_0,
    /// Blocks of 256 values in 6 bits, with a scale of 8 bits for 16 of them.
    Q6K,
    /// Blocks of 256 values in 5 bits, with a scale and a least value of 6 bits for 32 of them.
    Q5K,
    /// Blocks of 256 values in 4 bits, with a scale and a least value of 6 bits for 32 of them.
    Q4K,
    /// Blocks of 256 values in 3 bits, with a scale of 6 bits for 16 of them.
    Q3K,
    /// Blocks of 256 values in 2 bits, with a scale and a least value of 4 bits for 16 of them.
    Q2K,
    /// Blocks of 32 values in 4-bit floats with one exponent of 8 bits.
    Mxfp4,
}

impl GgufDtype {
    /// The type of stored values; None for blocks that can be read and not written.
    pub fn of(storage: StorageDtype) -> Option<Self> {
        Some(match storage {
            StorageDtype::F32 => Self::F32,
            StorageDtype::F16 => Self::F16,
            StorageDtype::BF16 => Self::BF16,
            StorageDtype::Quantised(dtype) => match dtype {
                GgmlDType::Q8_0 => Self::Q8_0,
                GgmlDType::Q5_1 => Self::Q5_1,
                GgmlDType::Q5_0 => Self::Q5_0,
                GgmlDType::Q4_1 => Self::Q4_1,
                GgmlDType::Q4_0 => Self::Q4_0,
                GgmlDType::Q6K => Self::Q6K,
                GgmlDType::Q5K => Self::Q5K,
                GgmlDType::Q4K => Self::Q4K,
                GgmlDType::Q3K => Self::Q3K,
                GgmlDType::Q2K => Self::Q2K,
                _ => return None,
            },
            StorageDtype::Mxfp4 | StorageDtype::Mxfp4Apart => Self::Mxfp4,
        })
    }

    pub(crate) fn storage(self) -> StorageDtype {
        let blocks = match self {
            Self::F32 => return StorageDtype::F32,
            Self::F16 => return StorageDtype::F16,
            Self::BF16 => return StorageDtype::BF16,
            Self::Mxfp4 => return StorageDtype::Mxfp4,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q6K => GgmlDType::Q6K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q3K => GgmlDType::Q3K,
            Self::Q2K => GgmlDType::Q2K,
        };
        StorageDtype::Quantised(blocks)
    }

    /// (name, ggml's type code, llama.cpp's `general.file_type` of a file in which all matrices have it).
    fn row(self) -> (&'static str, u32, u32) {
        match self {
            Self::F32 => ("f32", 0, 0),
            Self::F16 => ("f16", 1, 1),
            Self::BF16 => ("bf16", 30, 32),
            Self::Q8_0 => ("q8_0", 8, 7),
            Self::Q5_1 => ("q5_1", 7, 9),
            Self::Q5_0 => ("q5_0", 6, 8),
            Self::Q4_1 => ("q4_1", 3, 3),
            Self::Q4_0 => ("q4_0", 2, 2),
            Self::Q6K => ("q6_k", 14, 18),
            Self::Q5K => ("q5_k", 13, 16),
            Self::Q4K => ("q4_k", 12, 14),
            Self::Q3K => ("q3_k", 11, 11),
            Self::Q2K => ("q2_k", 10, 10),
            Self::Mxfp4 => ("mxfp4", 39, 38),
        }
    }

    /// Its name, as llama.cpp writes it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// ggml's type code.
    pub(crate) fn code(self) -> u32 {
        self.row().1
    }

    /// llama.cpp's `general.file_type` of a file in which all matrices have this type.
    pub fn file_type(self) -> u32 {
        self.row().2
    }

    /// Values of the smallest unit: of a block, 1 for plain floats. Rows are whole multiples of it.
    pub fn unit(self) -> usize {
        self.storage().unit().0
    }
}
