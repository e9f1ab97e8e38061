//! [`Module`]: what a model is made of, as far as an adapter can train it; and [`BaseModel`], where its values are read.
use crate::Error;
use std::collections::BTreeSet;

/// What a module computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// y = x·Wᵀ (+ bias), W of shape (out, in).
    Linear {
        /// Whether the base has a bias here.
        bias: bool,
    },
    /// Rows of a table of shape (in, out): `in` is the vocabulary, `out` the width.
    Embedding,
    /// A norm with a weight of shape (out).
    Norm {
        /// Whether the base has a bias here.
        bias: bool,
    },
    /// A weight of a mixture of experts under the name that it had as a linear layer, by which `target_modules` means it: PEFT
    /// 0.21 turns that into a parameter ([`Self::Experts`], [`Self::Router`]), which is asked for by `target_parameters` here.
    Parameter,
    /// The matrices of all experts of a layer in one parameter, (experts, out, in), y = x·Wᵀ for the tokens that chose the
    /// expert. Its path is the parameter's (`mlp.experts.down_proj`); `target_parameters` alone means it.
    Experts {
        /// Experts.
        count: usize,
        /// The first half of the outputs here (gate's) and the second (up's) alternate in the parameter: so B's rows lie in
        /// a file.
        alternating: bool,
    },
    /// The weight of a router, (out, in), a parameter of its module. Its path is the parameter's (`mlp.gate.weight`);
    /// `target_parameters` alone means it.
    Router,
    /// Something whose weights an adapter here leaves as they are, of so many values (a convolution).
    Frozen {
        /// Values.
        values: usize,
        /// Whether the base has a bias here.
        bias: bool,
        /// Whether it is a linear layer all the same, but one that PEFT refuses to put LoRA on.
        linear: bool,
    },
    /// Something without weights (an activation, a rotary embedding): nothing of it can train, but an expression can match it.
    Weightless,
}

impl ModuleKind {
    /// True for a linear layer.
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Linear { .. })
    }

    /// True for a parameter of a mixture, which is asked for by `target_parameters`.
    pub fn is_of_mixture(self) -> bool {
        matches!(self, Self::Experts { .. } | Self::Router)
    }
}

/// What a linear layer is for in a decoder layer: named sets of targets ask for roles, and every model says which of its
/// modules has which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Queries of attention.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Output of attention.
    Output,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP.
    Up,
    /// Down projection of the MLP.
    Down,
}

/// A module of a model that an adapter can train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Module path without prefix, e.g. `model.layers.0.self_attn.q_proj`.
    pub path: String,
    /// What it computes.
    pub kind: ModuleKind,
    /// Input features; of an embedding its vocabulary.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
    /// True for the output head, which `all-linear` leaves out.
    pub is_head: bool,
    /// True for a head whose weight is the embedding's.
    pub tied: bool,
    /// Its roles: several where linear layers are stacked in one, none outside the decoder's layers.
    pub roles: &'static [Role],
    /// True if PEFT targets it in such a model where nothing is said.
    pub is_default_target: bool,
}

impl Module {
    /// A linear layer without bias.
    pub fn linear(path: impl Into<String>, in_features: usize, out_features: usize) -> Self {
        let kind = ModuleKind::Linear { bias: false };
        Self {
            path: path.into(),
            kind,
            in_features,
            out_features,
            is_head: false,
            tied: false,
            roles: &[],
            is_default_target: false,
        }
    }

    /// An embedding of `vocabulary` rows.
    pub fn embedding(path: impl Into<String>, vocabulary: usize, width: usize) -> Self {
        Self {
            kind: ModuleKind::Embedding,
            ..Self::linear(path, vocabulary, width)
        }
    }

    /// A norm without bias.
    pub fn norm(path: impl Into<String>, width: usize) -> Self {
        Self {
            kind: ModuleKind::Norm { bias: false },
            ..Self::linear(path, width, width)
        }
    }

    /// A weight of a mixture of experts.
    pub fn parameter(path: impl Into<String>, in_features: usize, out_features: usize) -> Self {
        Self {
            kind: ModuleKind::Parameter,
            ..Self::linear(path, in_features, out_features)
        }
    }

    /// The matrices of so many experts in one parameter.
    pub fn experts(
        path: impl Into<String>,
        count: usize,
        in_features: usize,
        out_features: usize,
    ) -> Self {
        Self {
            kind: ModuleKind::Experts {
                count,
                alternating: false,
            },
            ..Self::linear(path, in_features, out_features)
        }
    }

    /// The same, of which gate's and up's outputs alternate.
    #[must_use]
    pub fn with_alternating_outputs(mut self) -> Self {
        if let ModuleKind::Experts { alternating, .. } = &mut self.kind {
            *alternating = true;
        }
        self
    }

    /// The weight of a router.
    pub fn router(path: impl Into<String>, in_features: usize, out_features: usize) -> Self {
        Self {
            kind: ModuleKind::Router,
            ..Self::linear(path, in_features, out_features)
        }
    }

    /// Something whose weights stay as they are.
    pub fn frozen(path: impl Into<String>, values: usize) -> Self {
        Self {
            kind: ModuleKind::Frozen {
                values,
                bias: false,
                linear: false,
            },
            ..Self::linear(path, 0, 0)
        }
    }

    /// A linear layer of so many values that PEFT refuses to put LoRA on: its weights stay as they are.
    pub fn unadapted(path: impl Into<String>, values: usize) -> Self {
        Self {
            kind: ModuleKind::Frozen {
                values,
                bias: false,
                linear: true,
            },
            ..Self::linear(path, 0, 0)
        }
    }

    /// Something without weights.
    pub fn weightless(path: impl Into<String>) -> Self {
        Self {
            kind: ModuleKind::Weightless,
            ..Self::linear(path, 0, 0)
        }
    }

    /// Says that the base has a bias here.
    pub fn add_bias(&mut self) {
        match &mut self.kind {
            ModuleKind::Linear { bias } | ModuleKind::Norm { bias } => *bias = true,
            ModuleKind::Frozen { bias, .. } => *bias = true,
            ModuleKind::Embedding
            | ModuleKind::Parameter
            | ModuleKind::Experts { .. }
            | ModuleKind::Router
            | ModuleKind::Weightless => {}
        }
    }

    /// Last component of the path, e.g. `q_proj`.
    pub fn name(&self) -> &str {
        short_name(&self.path)
    }

    /// True for a parameter of a mixture, which is asked for by `target_parameters`.
    pub fn is_of_mixture(&self) -> bool {
        self.kind.is_of_mixture()
    }

    /// True for a linear layer.
    pub fn is_linear(&self) -> bool {
        self.kind.is_linear()
    }

    /// Whether the base has a bias here.
    pub fn has_bias(&self) -> bool {
        matches!(
            self.kind,
            ModuleKind::Linear { bias: true } | ModuleKind::Norm { bias: true }
        )
    }

    /// Shape of its weight.
    pub fn weight_shape(&self) -> Vec<usize> {
        match self.kind {
            ModuleKind::Linear { .. } | ModuleKind::Parameter | ModuleKind::Router => {
                vec![self.out_features, self.in_features]
            }
            ModuleKind::Experts { count, .. } => vec![count, self.out_features, self.in_features],
            ModuleKind::Embedding => vec![self.in_features, self.out_features],
            ModuleKind::Norm { .. } => vec![self.out_features],
            ModuleKind::Frozen { values, .. } => vec![values],
            ModuleKind::Weightless => Vec::new(),
        }
    }
}

/// A base model, as an adapter sees it: its modules, and the values of their weights.
pub trait BaseModel {
    /// Its modules, in model order.
    fn modules(&self) -> Vec<Module>;

    /// Reads values `first..` of a tensor (`PATH.weight`, `PATH.bias`; row-major, whole rows) as f32. A tied head has the
    /// embedding's.
    ///
    /// # Errors
    /// If there is no such tensor, or only the model's shape is known.
    fn read(&self, tensor: &str, first: usize, out: &mut [f32]) -> Result<(), Error>;

    /// Why mlx-lm's adapters don't fit it, if they don't.
    fn unfit_for_mlx(&self) -> Option<&'static str> {
        None
    }
}

/// A model of which only the shape is known.
impl BaseModel for Vec<Module> {
    fn modules(&self) -> Vec<Module> {
        self.clone()
    }

    fn read(&self, tensor: &str, _: usize, _: &mut [f32]) -> Result<(), Error> {
        Err(Error::config(format!(
            "the base's {tensor} is needed, and only the base's shape is known"
        )))
    }
}

/// Last component of a module path.
pub(crate) fn short_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Last components of the paths of the modules that LoRA can be put on, sorted, each once.
pub(crate) fn short_names(modules: &[Module]) -> String {
    let carries_lora =
        |m: &&Module| matches!(m.kind, ModuleKind::Linear { .. } | ModuleKind::Embedding);
    let names: BTreeSet<&str> = modules
        .iter()
        .filter(carries_lora)
        .map(Module::name)
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
