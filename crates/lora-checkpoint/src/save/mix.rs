//! Which tensor gets which type in a quantised model: llama.cpp's choice (`llama_tensor_get_type` of its llama-quant.cpp),
//! for the families that are read here.
use super::dtype::GgufDtype;
use crate::families::SmallValues;
use crate::weights::Part;
use crate::{ModelConfig, Projection};

/// A quantised model's types: most matrices have the one of the name, `_M` and `_L` give those more bits that suffer most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // their names are llama.cpp's
pub enum Mix {
    Q8_0,
    Q6K,
    Q5KM,
    Q5KS,
    Q5_1,
    Q5_0,
    Q4KM,
    Q4KS,
    Q4_1,
    Q4_0,
    Q3KL,
    Q3KM,
    Q3KS,
    Q2K,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Q8_0,
        Self::Q6K,
        Self::Q5KM,
        Self::Q5KS,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4KM,
        Self::Q4KS,
        Self::Q4_1,
        Self::Q4_0,
        Self::Q3KL,
        Self::Q3KM,
        Self::Q3KS,
        Self::Q2K,
    ];

    /// Its name, as llama.cpp writes it, in lower case.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// (its name, the type of most matrices, llama.cpp's `general.file_type`).
    fn row(self) -> (&'static str, GgufDtype, u32) {
        match self {
            Self::Q8_0 => ("q8_0", GgufDtype::Q8_0, 7),
            Self::Q6K => ("q6_k", GgufDtype::Q6K, 18),
            Self::Q5KM => ("q5_k_m", GgufDtype::Q5K, 17),
            Self::Q5KS => ("q5_k_s", GgufDtype::Q5K, 16),
            Self::Q5_1 => ("q5_1", GgufDtype::Q5_1, 9),
            Self::Q5_0 => ("q5_0", GgufDtype::Q5_0, 8),
            Self::Q4KM => ("q4_k_m", GgufDtype::Q4K, 15),
            Self::Q4KS => ("q4_k_s", GgufDtype::Q4K, 14),
            Self::Q4_1 => ("q4_1", GgufDtype::Q4_1, 3),
            Self::Q4_0 => ("q4_0", GgufDtype::Q4_0, 2),
            Self::Q3KL => ("q3_k_l", GgufDtype::Q3K, 13),
            Self::Q3KM => ("q3_k_m", GgufDtype::Q3K, 12),
            Self::Q3KS => ("q3_k_s", GgufDtype::Q3K, 11),
            Self::Q2K => ("q2_k", GgufDtype::Q2K, 10),
        }
    }

    /// llama.cpp's `general.file_type`.
    pub(crate) fn file_type(self) -> u32 {
        self.row().2
    }

    /// The type of a matrix, whatever its rows are. `weighted` if errors are weighted by importance.
    fn wanted(self, config: &ModelConfig, part: Part, columns: usize, weighted: bool) -> GgufDtype {
        let most = self.row().1;
        let eight_experts = config.experts.is_some_and(|experts| experts.count == 8);
        match part {
            Part::Head => self.head(columns),
            Part::Embedding if config.tie_word_embeddings => self.head(columns),
            // Beside eight experts, these are small.
            Part::Linear(_, Projection::K | Projection::V) if eight_experts => GgufDtype::Q8_0,
            Part::Linear(_, Projection::O) if eight_experts => match self {
                Self::Q2K | Self::Q3KS | Self::Q3KM | Self::Q4KS | Self::Q4KM => GgufDtype::Q5K,
                _ => most,
            },
            Part::Linear(layer, Projection::V | Projection::Qkv | Projection::DeltaQkv) => {
                self.values(config, layer)
            }
            Part::Linear(layer, Projection::Down)
            | Part::Shared(layer, Projection::Down)
            | Part::Expert(layer, _, Projection::Down) => {
                self.down(layer, config.num_hidden_layers, weighted)
            }
            Part::Linear(_, Projection::O) => match self {
                Self::Q2K => GgufDtype::Q3K,
                Self::Q3KM => GgufDtype::Q4K,
                Self::Q3KL => GgufDtype::Q5K,
                _ => most,
            },
            _ => most,
        }
    }

    /// The output matrix, and the embedding that stands in its place.
    fn head(self, columns: usize) -> GgufDtype {
        let most = self.row().1;
        if most == GgufDtype::Q8_0 || !columns.is_multiple_of(most.unit()) {
            GgufDtype::Q8_0
        } else {
            GgufDtype::Q6K
        }
    }

    /// The values of the attention, alone or stacked with queries and keys.
    fn values(self, config: &ModelConfig, layer: usize) -> GgufDtype {
        let most = self.row().1;
        // llama.cpp counts such matrices, which not every layer has.
        let has = |&layer: &usize| config.projections_of(layer).into_iter().any(is_of_values);
        let all = (0..config.num_hidden_layers).filter(has);
        let (layers, layer) = (all.clone().count(), all.filter(|&own| own < layer).count());
        let (heads, shared) = (config.num_attention_heads, config.num_key_value_heads);
        let dtype = match self {
            Self::Q2K if heads / shared.max(1) >= 4 => GgufDtype::Q4K,
            Self::Q2K => GgufDtype::Q3K,
            Self::Q3KM if layer < 2 => GgufDtype::Q5K,
            Self::Q3KM => GgufDtype::Q4K,
            Self::Q3KL => GgufDtype::Q5K,
            Self::Q4KM | Self::Q5KM if gets_more_bits(layer, layers) => GgufDtype::Q6K,
            Self::Q4KS if layer < 4 => GgufDtype::Q5K,
            _ => most,
        };
        // llama.cpp's "70B": with many queries to a key, the matrix of values is small.
        let is_70b = match config.facts().gguf.small_values {
            SmallValues::Never => false,
            SmallValues::Of(own) => layers == own,
            SmallValues::OfGrouped(own) => layers == own && heads != shared,
        };
        match dtype {
            GgufDtype::Q3K | GgufDtype::Q4K if is_70b => GgufDtype::Q5K,
            other => other,
        }
    }

    fn down(self, layer: usize, layers: usize, weighted: bool) -> GgufDtype {
        match self {
            Self::Q2K => GgufDtype::Q3K,
            Self::Q3KM if layer < layers / 16 => GgufDtype::Q5K,
            Self::Q3KM => GgufDtype::Q4K,
            Self::Q3KL => GgufDtype::Q5K,
            Self::Q4KM | Self::Q5KM if gets_more_bits(layer, layers) => GgufDtype::Q6K,
            Self::Q4KS if layer < layers / 8 => GgufDtype::Q5K,
            Self::Q4_0 if weighted && layer < layers / 8 => GgufDtype::Q4_1,
            Self::Q5_0 if weighted && layer < layers / 8 => GgufDtype::Q5_1,
            _ => self.row().1,
        }
    }

    /// The type of a matrix with rows of `columns` values, and the one that it would have if these were whole blocks.
    pub(crate) fn of(
        self,
        config: &ModelConfig,
        part: Part,
        columns: usize,
        weighted: bool,
    ) -> (GgufDtype, GgufDtype) {
        let wanted = self.wanted(config, part, columns, weighted);
        (in_whole_blocks(wanted, columns), wanted)
    }
}

/// Whether a matrix is that of values, alone or stacked.
fn is_of_values(projection: Projection) -> bool {
    matches!(
        projection,
        Projection::V | Projection::Qkv | Projection::DeltaQkv
    )
}

/// The first and the last eighth of the layers, and every third between.
fn gets_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// A type of smaller blocks where rows are no whole number of the type's own.
fn in_whole_blocks(dtype: GgufDtype, columns: usize) -> GgufDtype {
    if columns.is_multiple_of(dtype.unit()) {
        return dtype;
    }
    let smaller = match dtype {
        GgufDtype::Q2K | GgufDtype::Q3K => GgufDtype::Q4_0,
        GgufDtype::Q4K => GgufDtype::Q5_0,
        GgufDtype::Q5K => GgufDtype::Q5_1,
        GgufDtype::Q6K => GgufDtype::Q8_0,
        _ => GgufDtype::F16,
    };
    match columns.is_multiple_of(smaller.unit()) {
        true => smaller,
        false => GgufDtype::F16,
    }
}

#[cfg(test)]
#[path = "mix_tests.rs"]
mod tests;
