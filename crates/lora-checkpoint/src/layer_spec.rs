//! What is a layer's own.
use crate::families::Mixer;

/// What is a layer's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// Keys that a query sees, itself included: those with i − j < window. None: all before it.
    pub window: Option<usize>,
    /// Place of its rotary embedding in [`crate::ModelConfig::ropes`]. None: positions are not encoded.
    pub rope: Option<usize>,
    /// Whether experts stand in the place of its MLP.
    pub experts: bool,
    /// What mixes its tokens.
    pub mixer: Mixer,
    /// Whether attention stands beside a mixer that keeps a state: both read the same input, and both are added to the hidden state.
    pub beside_attention: bool,
}

impl LayerSpec {
    /// All that mixes its tokens, side by side.
    pub fn mixers(self) -> impl Iterator<Item = Mixer> {
        let beside = self.beside_attention.then_some(Mixer::Attention);
        std::iter::once(self.mixer).chain(beside)
    }

    /// Whether it has attention, alone or beside another mixer.
    #[must_use]
    pub fn has_attention(self) -> bool {
        self.mixer == Mixer::Attention || self.beside_attention
    }

    /// Whether it keeps a state.
    #[must_use]
    pub fn keeps_state(self) -> bool {
        self.mixer != Mixer::Attention
    }
}
