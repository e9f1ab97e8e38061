//! Mixtures of experts: a router chooses some of several MLPs for each token, and the layer's output is their weighted sum
//! (Shazeer et al. 2017). No family is named here.
use crate::Projection;

/// The experts of a model's layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// E, in each layer that has some.
    pub count: usize,
    /// k, those that are chosen for a token.
    pub chosen: usize,
    /// MLP width of one.
    pub width: usize,
    /// What routers make of their logits.
    pub scores: Scores,
    /// Whether there is a number for each expert that is added to its score for the choice alone (Wang et al. 2024).
    pub choice_bias: bool,
    /// Whether the weights of the chosen, parts of a softmax over all or sigmoids, are divided by their sum. (To take the softmax
    /// over the chosen alone is the same.)
    pub normalised: bool,
    /// What the weights are multiplied by then.
    pub scale: f64,
    /// What stands in the place of the activation, if it does.
    pub clamp: Option<Clamp>,
    /// MLP width of what every token goes through beside them, if there is such (shared experts; Dai et al. 2024): the layer's
    /// output is the sum of both.
    pub shared: Option<usize>,
}

impl Experts {
    /// So many of such a width, of which so many are chosen by the largest parts of a softmax, divided by their sum.
    pub(super) const fn of([count, chosen, width]: [usize; 3]) -> Self {
        Self {
            count,
            chosen,
            width,
            scores: Scores::Softmax,
            choice_bias: false,
            normalised: true,
            scale: 1.0,
            clamp: None,
            shared: None,
        }
    }
}

/// What a router makes of its logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// The softmax.
    Softmax,
    /// Of each the sigmoid.
    Sigmoid,
}

/// A clamped unit, (u + 1)·g·σ(α·g): g is the gate, at most the limit, u is up, within it on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// α.
    pub alpha: f64,
    /// The limit.
    pub limit: f64,
}

/// How the tensors lie that hold all experts of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stacked {
    /// Gate and up in one (E, 2·I, H), down in another (E, H, I): their names in a layer.
    Rows([&'static str; 2]),
    /// The same turned round, (E, H, 2·I) and (E, I, H), with gates in the even columns and ups in the odd ones, biases in
    /// tensors of (E, 2·I) and (E, H). Or in blocks of MXFP4, not turned round, in pairs of tensors.
    Columns([&'static str; 2]),
}

/// An MLP beside the experts that every token goes through: the layer's linear layers of an MLP are its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    /// The key of its width, and its default.
    pub(crate) width: (&'static str, usize),
    /// Whether a model without experts (of which the file says that there are 0) has it alone. A family where that is so has it
    /// always; in others a width of 0 means that there is none.
    pub(crate) alone: bool,
}

/// How a family's experts are called, and what its config.json says of them.
#[derive(Debug, Clone, Copy)]
pub struct ExpertFacts {
    /// Path in a layer of the router, whose weight (E, H) gives the logits.
    pub router: &'static str,
    /// Path in a layer of the experts.
    pub path: &'static str,
    /// Their names for gate, up and down.
    pub names: [&'static str; 3],
    /// Module paths in a layer of router and experts in transformers 5, where those are other than the weights' names.
    pub modules: Option<[&'static str; 2]>,
    /// The tensors that hold all experts in the files of transformers. None: each expert has its own.
    pub(crate) stacked: Option<Stacked>,
    /// What else a layer holds of them in transformers, without weights: an expression of PEFT's can match it.
    pub weightless: &'static [&'static str],
    /// Whether router and projections have biases.
    pub biased: bool,
    /// The default of what stands in the place of the activation (`swiglu_alpha`, `swiglu_limit`); llama.cpp knows no other.
    pub(crate) clamp: Option<Clamp>,
    /// Whether PEFT 0.21 takes router and experts for parameters where a target means them, with `all-linear` too; else
    /// it knows nothing there that could carry LoRA.
    pub are_parameters: bool,
    /// The keys of E, of which any may stand there; the first is written. Its default.
    pub(crate) count: (&'static [&'static str], usize),
    /// Default of `num_experts_per_tok`.
    pub(crate) chosen: usize,
    /// The key of an expert's width, and its default.
    pub(crate) width: (&'static str, usize),
    /// The default of `router_aux_loss_coef`, which counts where `output_router_logits` is true.
    pub(crate) router_aux_loss: f64,
    /// What routers make of their logits.
    pub(crate) scores: Scores,
    /// Name in a layer of the numbers that are added to scores for the choice alone, of a family where `use_expert_bias`, true
    /// by default, says that there are some. transformers keeps them as a buffer: nothing trains them.
    pub choice_bias: Option<&'static str>,
    /// Whether weights are normalised.
    pub(crate) normalised: Normalised,
    /// Whether [`SCALE`] is read, by which weights are multiplied.
    pub(crate) scaled: bool,
    /// What may stand beside them.
    pub(crate) shared: Option<Shared>,
    /// Whether GGUF has a key of an expert's width, though it is the model's.
    pub(crate) own_width_key: bool,
    /// Which layers have some.
    pub(crate) layers: ExpertLayers,
}

/// config.json's key of whether numbers are added to scores for the choice alone.
pub(crate) const CHOICE_BIAS: &str = "use_expert_bias";
/// That of what weights are multiplied by.
pub(crate) const SCALE: &str = "routed_scaling_factor";
/// That of the number of first layers that have no experts.
pub(crate) const DENSE_LAYERS: &str = "num_dense_layers";

/// Which layers have experts; the others have one MLP, of the model's own width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpertLayers {
    /// All.
    All,
    /// Those that `decoder_sparse_step` and `mlp_only_layers` leave.
    Some,
    /// All but so many first ones, where [`DENSE_LAYERS`] says nothing.
    Behind(usize),
}

/// Whether the weights of the chosen experts are divided by their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Normalised {
    /// They are.
    Always,
    /// If `norm_topk_prob` says so. llama.cpp has the family in one way alone.
    Read {
        /// Where nothing is said.
        default: bool,
        /// Whether llama.cpp does it.
        in_gguf: bool,
    },
}

impl Normalised {
    /// As llama.cpp does it.
    pub(crate) fn in_gguf(self) -> bool {
        match self {
            Self::Always => true,
            Self::Read { in_gguf, .. } => in_gguf,
        }
    }
}

/// The projections of an expert, in the order of its forward pass.
pub const EXPERT_PROJECTIONS: [Projection; 3] =
    [Projection::Gate, Projection::Up, Projection::Down];

impl ExpertFacts {
    /// Whether models may have none of them.
    pub(crate) fn may_be_missing(&self) -> bool {
        self.shared.is_some_and(|shared| shared.alone)
    }

    /// Module paths in a layer of router and experts, as an adapter's targets are matched with them.
    #[must_use]
    pub fn modules(&self) -> [&'static str; 2] {
        self.modules.unwrap_or([self.router, self.path])
    }

    /// Path in a layer of one of an expert's [`EXPERT_PROJECTIONS`].
    #[must_use]
    pub fn of(&self, expert: usize, projection: Projection) -> String {
        format!("{}.{expert}.{}", self.path, self.name(projection))
    }

    /// Whether outputs of gate and up alternate where transformers has both in one parameter. (It is turned round then, (E, H,
    /// 2·I) in place of (E, 2·I, H), which PEFT's factors don't show: A has H columns, B 2·I rows in the order of the outputs.)
    #[must_use]
    pub fn alternates(&self) -> bool {
        matches!(self.stacked, Some(Stacked::Columns(_)))
    }

    /// What one of an expert's [`EXPERT_PROJECTIONS`] is called.
    #[must_use]
    pub fn name(&self, projection: Projection) -> &'static str {
        let [gate, up, down] = self.names;
        match projection {
            Projection::Gate => gate,
            Projection::Up => up,
            _ => down,
        }
    }
}
