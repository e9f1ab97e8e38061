//! Memory that mixtures of experts use in a pass. Every token has k rows, one for each expert that is chosen for it.
use super::mixture_bound::MixtureColumns;
use lora_checkpoint::ModelConfig;
use lora_gpu::{Dtype, Tensor};

/// Sizes of a mixture; all 0 if no layer has one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mixed {
    /// E.
    pub(super) experts: usize,
    /// k.
    pub(super) chosen: usize,
    /// I of an expert.
    pub(super) width: usize,
    /// Whether experts have biases.
    biased: bool,
    /// Columns for factors, the most of each kind.
    factors: MixtureColumns,
}

/// Pieces of memory.
pub(super) const PIECES: usize = 14;

impl Mixed {
    /// Of a decoder, with so many columns for factors.
    pub(super) fn of(config: &ModelConfig, factors: MixtureColumns) -> Self {
        let mut layers = 0..config.num_hidden_layers;
        let found = layers.find_map(|layer| config.experts_of(layer));
        found.map_or_else(Self::default, |own| Self {
            experts: own.count,
            chosen: own.chosen,
            width: own.width,
            biased: config.facts().experts.is_some_and(|names| names.biased),
            factors,
        })
    }

    /// These, or others where there are none: all layers with experts have the same.
    pub(super) fn or(self, other: Self) -> Self {
        match self.experts {
            0 => other,
            _ => self,
        }
    }

    /// What a layer keeps of a token: what gates and ups of the chosen give.
    pub(super) fn gate_up(self) -> usize {
        2 * self.chosen * self.width
    }

    /// For `rows` tokens, of which `back` have a backward pass, in the order of [`ExpertScratch`].
    pub(super) fn pieces(
        self,
        hidden: usize,
        (rows, back): (usize, usize),
        activations: Dtype,
    ) -> [(Dtype, usize); PIECES] {
        let (chosen, factors) = (self.chosen, self.factors);
        let wide = chosen * (self.width + factors.down);
        let read = chosen * (hidden + factors.gate_up);
        let when = |is: bool, values: usize| if is { values } else { 0 };
        [
            (activations, rows * read),
            (activations, rows * wide),
            (activations, back * wide),
            (activations, when(factors.gate_up > 0, back * read)),
            (activations, when(factors.read_input(), back * hidden)),
            (activations, rows * factors.router),
            (activations, back * factors.router),
            (Dtype::F32, back * chosen),
            (Dtype::F32, back * self.experts),
            (activations, back * self.experts),
            (Dtype::U32, rows * chosen),
            (Dtype::U32, rows * chosen),
            (Dtype::F32, rows * chosen),
            (Dtype::U32, if self.biased { rows * chosen } else { 0 }),
        ]
    }
}

/// Scratch of mixtures; rows are sorted by expert.
#[derive(Debug)]
pub(super) struct ExpertScratch {
    /// What experts read, with room for u behind it, or give, or its gradient, (T·k, H).
    pub(super) rows: Tensor,
    /// What their down projections read, (T·k, I), with room for u behind it, and its gradient.
    pub(super) activated: Tensor,
    pub(super) d_activated: Tensor,
    /// Gradient of what experts read, with room for that of u, where their gates and ups carry factors.
    pub(super) d_rows: Tensor,
    /// What router and experts read, (T, H), where factors need it once more.
    pub(super) read: Tensor,
    /// u of the router's factors, and its gradient.
    pub(super) router_u: Tensor,
    pub(super) d_router_u: Tensor,
    /// Gradient of each row's weight, f32 (T·k).
    pub(super) d_weights: Tensor,
    /// Gradient of the router's logits, (T, E): in f32, and in the activations' type.
    pub(super) d_logits: Tensor,
    pub(super) d_router: Tensor,
    /// The token of each row, (T·k), and the row of each of a token's slots.
    pub(super) tokens: Tensor,
    pub(super) places: Tensor,
    /// The weight of each row, f32 (T·k).
    pub(super) weights: Tensor,
    /// The expert of each row, (T·k), where experts have biases.
    pub(super) experts: Tensor,
}

impl From<[Tensor; PIECES]> for ExpertScratch {
    fn from(pieces: [Tensor; PIECES]) -> Self {
        let [
            rows,
            activated,
            d_activated,
            d_rows,
            read,
            router_u,
            d_router_u,
            d_weights,
            d_logits,
            d_router,
            tokens,
            places,
            weights,
            experts,
        ] = pieces;
        Self {
            rows,
            activated,
            d_activated,
            d_rows,
            read,
            router_u,
            d_router_u,
            d_weights,
            d_logits,
            d_router,
            tokens,
            places,
            weights,
            experts,
        }
    }
}
