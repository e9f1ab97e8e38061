//! [`Layout`]: what an adapter trains, where each tensor lies in the flat parameters, and what it is called in a file.
use crate::{ModuleKind, TrainedRows};
use std::ops::Range;

/// What PEFT puts before a module's path.
pub(crate) const PREFIX: &str = "base_model.model.";

/// A module that carries LoRA, and where its parts lie in the flat parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetedModule {
    /// Module path, of a parameter of a mixture the parameter's.
    pub path: String,
    /// What PEFT's file calls the module: its path, but for parameters of a mixture (see [`parameters`](crate::Parameters)).
    pub name: String,
    /// Linear, embedding, or a parameter of a mixture.
    pub kind: ModuleKind,
    /// Columns of A: input features, of an embedding its vocabulary.
    pub in_features: usize,
    /// Rows of B: output features.
    pub out_features: usize,
    /// Rows of A, columns of B.
    pub rank: usize,
    /// s = α/r or α/√r.
    pub scaling: f32,
    /// A, (rank, in) row-major; of experts one behind the other, (experts, rank, in).
    pub a: Range<usize>,
    /// B, (out, rank) row-major; of experts one behind the other, (experts, out, rank).
    pub b: Range<usize>,
    /// Bias on B, (out): PEFT's `lora_bias`.
    pub lora_bias: Option<Range<usize>>,
    /// DoRA's magnitude, (out).
    pub magnitude: Option<Range<usize>>,
}

/// A tensor of the base that trains as a whole and stands in its place: of a module to save, or a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedTensor {
    /// Its name in the base, e.g. `lm_head.weight`.
    pub tensor: String,
    /// Its name in the adapter's file.
    pub name: String,
    /// Weight or bias.
    pub part: Part,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place in the flat parameters.
    pub range: Range<usize>,
    /// True where PEFT trains the base's own tensor (a bias), not a copy: it is no additional parameter.
    pub in_base: bool,
}

/// What a tensor of an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// LoRA's A.
    A,
    /// LoRA's B.
    B,
    /// Bias on B.
    LoraBias,
    /// DoRA's magnitude.
    Magnitude,
    /// Rows of the vocabulary.
    Rows,
    /// A weight of the base.
    Weight,
    /// A bias of the base.
    Bias,
}

/// A tensor of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterTensor {
    /// PEFT's name, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// Its place in the flat parameters.
    pub range: Range<usize>,
    /// Of the B of several experts, how it lies in the file.
    pub experts: Option<ExpertsInFile>,
}

/// The B of several experts: the flat parameters hold it as (experts, out, rank), the file as (out, rank·experts), column
/// j·experts + e.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertsInFile {
    /// Experts.
    pub count: usize,
    /// Rows of the first half and of the second alternate in the file.
    pub alternating: bool,
}

/// Everything that an adapter trains on a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Modules that carry LoRA, in model order.
    pub modules: Vec<TargetedModule>,
    /// Tensors that train as a whole, in model order.
    pub trained: Vec<TrainedTensor>,
    /// Rows of the vocabulary that train, in model order.
    pub rows: Vec<TrainedRows>,
}

impl Layout {
    /// Trainable parameters.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.range.len()).sum()
    }

    /// Those that PEFT adds to the model: all but the base's own biases.
    pub fn added_parameters(&self) -> usize {
        let own: usize = self
            .trained
            .iter()
            .filter(|t| t.in_base)
            .map(|t| t.range.len())
            .sum();
        self.parameters() - own
    }

    /// All tensors, in the order of the flat parameters.
    pub fn tensors(&self) -> Vec<AdapterTensor> {
        tensors(&self.modules, &self.trained, &self.rows)
    }
}

/// All tensors of an adapter, in the order of the flat parameters.
pub(crate) fn tensors(
    modules: &[TargetedModule],
    trained: &[TrainedTensor],
    rows: &[TrainedRows],
) -> Vec<AdapterTensor> {
    let mut all: Vec<AdapterTensor> = modules.iter().flat_map(TargetedModule::tensors).collect();
    all.extend(trained.iter().map(|t| AdapterTensor {
        name: t.name.clone(),
        part: t.part,
        shape: t.shape.clone(),
        range: t.range.clone(),
        experts: None,
    }));
    all.extend(rows.iter().map(rows_tensor));
    all
}

/// What rows of the vocabulary are in the adapter's file.
fn rows_tensor(rows: &TrainedRows) -> AdapterTensor {
    let path = rows.paths.first().map_or("", String::as_str);
    AdapterTensor {
        name: format!("{PREFIX}{path}.token_adapter.trainable_tokens_delta"),
        part: Part::Rows,
        shape: vec![rows.rows.len(), rows.width],
        range: rows.range.clone(),
        experts: None,
    }
}

impl TargetedModule {
    /// PEFT's name of A's tensor, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub fn a_name(&self) -> String {
        self.part_name(Part::A)
    }

    /// PEFT's name of B's tensor.
    pub fn b_name(&self) -> String {
        self.part_name(Part::B)
    }

    /// True if the module is an embedding.
    pub fn is_embedding(&self) -> bool {
        self.kind == ModuleKind::Embedding
    }

    /// True for a parameter of a mixture, which is asked for by `target_parameters`.
    pub fn is_of_mixture(&self) -> bool {
        self.kind.is_of_mixture()
    }

    /// How many experts' matrices it has in one, if it is such a parameter.
    pub fn experts(&self) -> Option<usize> {
        match self.kind {
            ModuleKind::Experts { count, .. } => Some(count),
            _ => None,
        }
    }

    fn experts_in_file(&self) -> Option<ExpertsInFile> {
        match self.kind {
            ModuleKind::Experts { count, alternating } => {
                Some(ExpertsInFile { count, alternating })
            }
            _ => None,
        }
    }

    /// Shape of the base's weight, (rows, columns), or of that of one expert.
    pub fn weight_shape(&self) -> [usize; 2] {
        if self.is_embedding() {
            [self.in_features, self.out_features]
        } else {
            [self.out_features, self.in_features]
        }
    }

    fn part_name(&self, part: Part) -> String {
        let suffix = match (part, self.is_embedding()) {
            (Part::A, false) => "lora_A.weight",
            (Part::B, false) => "lora_B.weight",
            (Part::A, true) => "lora_embedding_A",
            (Part::B, true) => "lora_embedding_B",
            (Part::LoraBias, _) => "lora_B.bias",
            (Part::Magnitude, _) => "lora_magnitude_vector",
            (Part::Weight, _) => "base_layer.weight",
            (Part::Bias, _) => "base_layer.bias",
            (Part::Rows, _) => "token_adapter.trainable_tokens_delta",
        };
        format!("{PREFIX}{}.{suffix}", self.name)
    }

    /// Name of the copy of the base's weight that PEFT also writes for a targeted embedding or head.
    pub(crate) fn copied_weight_name(&self) -> String {
        self.part_name(Part::Weight)
    }

    /// Its tensors, in the order of the flat parameters.
    pub fn tensors(&self) -> Vec<AdapterTensor> {
        let tensor = |part, shape: &[usize], range: &Range<usize>| AdapterTensor {
            name: self.part_name(part),
            part,
            shape: shape.to_vec(),
            range: range.clone(),
            experts: self.experts_in_file().filter(|_| part == Part::B),
        };
        let ranks = self.rank * self.experts().unwrap_or(1);
        let mut all = vec![
            tensor(Part::A, &[ranks, self.in_features], &self.a),
            tensor(Part::B, &[self.out_features, ranks], &self.b),
        ];
        all.extend(
            self.lora_bias
                .iter()
                .map(|range| tensor(Part::LoraBias, &[self.out_features], range)),
        );
        all.extend(
            self.magnitude
                .iter()
                .map(|range| tensor(Part::Magnitude, &[self.out_features], range)),
        );
        all
    }
}
