//! Where an adapter's factors at the parameters of a mixture lie: a router's, and those of all experts' matrices.
use super::group::ALIGNED;
use crate::fused::expert_sites::MixtureSlots;
use lora_core::Adapter;

/// A pair of factors at a router's weight, or one for each expert at a matrix of theirs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ParameterPair {
    /// A (rank, in) in the flat parameters; of experts one behind the other.
    pub(super) a: usize,
    /// B (out, rank), likewise.
    pub(super) b: usize,
    pub(super) rank: usize,
    /// s.
    pub(super) scaling: f32,
}

/// The factors of a layer's mixture.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct MixtureFactors {
    pub(super) router: Option<ParameterPair>,
    pub(super) gate_up: Option<ParameterPair>,
    pub(super) down: Option<ParameterPair>,
}

/// Columns of factors: rows of A, and columns of B behind those of the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MixtureColumns {
    pub(super) router: usize,
    pub(super) gate_up: usize,
    pub(super) down: usize,
}

impl MixtureFactors {
    /// Those of a layer.
    pub(super) fn of(adapter: &Adapter, slots: MixtureSlots) -> Self {
        let pair = |index: usize| {
            let module = &adapter.modules[index];
            ParameterPair {
                a: module.a.start,
                b: module.b.start,
                rank: module.rank,
                scaling: module.scaling,
            }
        };
        Self {
            router: slots.router.map(pair),
            gate_up: slots.gate_up.map(pair),
            down: slots.down.map(pair),
        }
    }

    /// What they need of their mixture.
    pub(super) fn columns(self) -> MixtureColumns {
        let of = |pair: Option<ParameterPair>| columns_of(pair.map_or(0, |pair| pair.rank));
        MixtureColumns {
            router: of(self.router),
            gate_up: of(self.gate_up),
            down: of(self.down),
        }
    }
}

/// Columns that factors of a rank take: rows stay aligned.
pub(super) fn columns_of(rank: usize) -> usize {
    rank.next_multiple_of(ALIGNED)
}

impl MixtureColumns {
    /// Enough for both.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            router: self.router.max(other.router),
            gate_up: self.gate_up.max(other.gate_up),
            down: self.down.max(other.down),
        }
    }

    /// Whether there is room for those.
    pub(super) fn hold(self, other: Self) -> bool {
        self.with(other) == self
    }

    /// Whether something trains at what reads the hidden state: its gradient needs that once more.
    pub(super) fn read_input(self) -> bool {
        self.router + self.gate_up > 0
    }
}
