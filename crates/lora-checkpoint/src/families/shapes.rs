//! Shapes of published models, as a family's file lists them.
use super::experts::Experts;
use super::mamba::MambaShape;

/// Shape of a published model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Name, in lower case, without what changes no shape (`-instruct`).
    pub name: &'static str,
    /// V.
    pub vocabulary: usize,
    /// H.
    pub hidden: usize,
    /// MLP width.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head: usize,
    /// Head shares the embedding matrix.
    pub tied: bool,
    /// Experts, where all layers have some.
    pub experts: Option<Experts>,
    /// Key heads and value heads of recurrent layers, where those are others than the family's usual ones; of Mamba-2 heads
    /// and the width of a state.
    pub state_heads: Option<[usize; 2]>,
    /// Heads of Mamba-2, where they are listed.
    pub mamba: Option<MambaShape>,
    /// The layers with attention, where those are listed.
    pub attention_in: &'static [usize],
    /// Whether all layers have attention, in a family where some may not.
    pub attention_everywhere: bool,
}

impl Published {
    /// The same with so many key heads and value heads in its recurrent layers.
    pub(super) const fn with_states(self, state_heads: [usize; 2]) -> Self {
        Self {
            state_heads: Some(state_heads),
            ..self
        }
    }

    /// The same with such heads of Mamba-2.
    pub(super) const fn with_mamba(self, mamba: MambaShape) -> Self {
        Self {
            mamba: Some(mamba),
            ..self
        }
    }

    /// The same with attention in all layers.
    pub(super) const fn with_attention_everywhere(self) -> Self {
        Self {
            attention_everywhere: true,
            ..self
        }
    }

    /// The same with attention in these layers, and in no others.
    pub(super) const fn with_attention_in(self, attention_in: &'static [usize]) -> Self {
        Self {
            attention_in,
            ..self
        }
    }
}

/// A row of [`Facts::published`]: name, [V, H, MLP width], layers, [query heads, key/value heads, width of a head], tied.
pub(super) const fn published(
    name: &'static str,
    [vocabulary, hidden, intermediate]: [usize; 3],
    layers: usize,
    [heads, kv_heads, head]: [usize; 3],
    tied: bool,
) -> Published {
    Published {
        name,
        vocabulary,
        hidden,
        intermediate,
        layers,
        heads,
        kv_heads,
        head,
        tied,
        experts: None,
        state_heads: None,
        mamba: None,
        attention_in: &[],
        attention_everywhere: false,
    }
}
