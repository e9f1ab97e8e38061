//! The linear layers of a decoder layer: what each computes, its module's name, and which lie stacked in one.

/// A linear layer of a decoder layer, or, for those that lie in a stacked one, a range of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention output.
    O,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP.
    Up,
    /// Down projection of the MLP.
    Down,
    /// Queries, keys and values stacked in one linear layer.
    Qkv,
    /// Gate and up stacked in one linear layer.
    GateUp,
    /// Queries, and beside those of each head the gate of its output.
    QGate,
    /// The gate of attention's output.
    OutputGate,
    /// Queries, keys and values of a recurrent layer, which its convolution runs over.
    DeltaQkv,
    /// The gate of a recurrent layer's output.
    DeltaZ,
    /// What a recurrent layer's β is made of, a number a head.
    DeltaB,
    /// What its decay is made of, a number a head.
    DeltaA,
    /// A recurrent layer's output.
    DeltaOut,
    /// What a layer of a short convolution reads: the gate before it, the gate behind it, its input.
    ConvIn,
    /// Its output.
    ConvOut,
    /// What a layer of Mamba-2 reads, stacked: the gate, what the convolution runs over, and what steps are made of.
    MambaIn,
    /// The gate of its output.
    MambaZ,
    /// x of all heads, B and C of all groups, which its convolution runs over.
    MambaXbc,
    /// What its steps are made of, a number a head.
    MambaDt,
    /// Its output.
    MambaOut,
    /// From the embedding to the inputs of all layers: one for the model, which stands with the first layer's.
    PerLayerModel,
    /// The gate of a layer's own input.
    PerLayerGate,
    /// From a layer's own input to the hidden state.
    PerLayerOut,
}

use Projection::{
    ConvIn, ConvOut, DeltaA, DeltaB, DeltaOut, DeltaQkv, DeltaZ, Down, Gate, GateUp, K, MambaDt,
    MambaIn, MambaOut, MambaXbc, MambaZ, O, OutputGate, PerLayerGate, PerLayerModel, PerLayerOut,
    Q, QGate, Qkv, Up, V,
};

impl Projection {
    /// All kinds of projections, in the order of [`Projection::index`].
    pub const ALL: [Self; 26] = [
        Q,
        K,
        V,
        O,
        Gate,
        Up,
        Down,
        Qkv,
        GateUp,
        QGate,
        OutputGate,
        DeltaQkv,
        DeltaZ,
        DeltaB,
        DeltaA,
        DeltaOut,
        ConvIn,
        ConvOut,
        MambaIn,
        MambaZ,
        MambaXbc,
        MambaDt,
        MambaOut,
        PerLayerModel,
        PerLayerGate,
        PerLayerOut,
    ];

    /// Its place among the kinds.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Module path inside a layer, in most families (see [`crate::Facts::path`]).
    #[must_use]
    pub(crate) const fn usual_path(self) -> &'static str {
        match self {
            Q | QGate | OutputGate => "self_attn.q_proj",
            K => "self_attn.k_proj",
            V => "self_attn.v_proj",
            O => "self_attn.o_proj",
            Gate => "mlp.gate_proj",
            Up => "mlp.up_proj",
            Down => "mlp.down_proj",
            Qkv => "self_attn.qkv_proj",
            GateUp => "mlp.gate_up_proj",
            DeltaQkv => "linear_attn.in_proj_qkv",
            DeltaZ => "linear_attn.in_proj_z",
            DeltaB => "linear_attn.in_proj_b",
            DeltaA => "linear_attn.in_proj_a",
            DeltaOut => "linear_attn.out_proj",
            ConvIn => "conv.in_proj",
            ConvOut => "conv.out_proj",
            MambaIn | MambaZ | MambaXbc | MambaDt => "mamba.in_proj",
            MambaOut => "mamba.out_proj",
            PerLayerModel => "per_layer_model_projection",
            PerLayerGate => "per_layer_input_gate",
            PerLayerOut => "per_layer_projection",
        }
    }

    /// Whether it belongs to the MLP.
    #[must_use]
    pub const fn is_of_mlp(self) -> bool {
        matches!(self, Gate | Up | Down | GateUp)
    }

    /// What its rows hold, in order (of each head, if [`Self::is_by_heads`]): itself, or the stacked parts.
    #[must_use]
    pub const fn parts(self) -> &'static [Self] {
        match self {
            Q => &[Q],
            K => &[K],
            V => &[V],
            O => &[O],
            Gate => &[Gate],
            Up => &[Up],
            Down => &[Down],
            Qkv => &[Q, K, V],
            GateUp => &[Gate, Up],
            QGate => &[Q, OutputGate],
            OutputGate => &[OutputGate],
            DeltaQkv => &[DeltaQkv],
            DeltaZ => &[DeltaZ],
            DeltaB => &[DeltaB],
            DeltaA => &[DeltaA],
            DeltaOut => &[DeltaOut],
            ConvIn => &[ConvIn],
            ConvOut => &[ConvOut],
            MambaIn => &[MambaZ, MambaXbc, MambaDt],
            MambaZ => &[MambaZ],
            MambaXbc => &[MambaXbc],
            MambaDt => &[MambaDt],
            MambaOut => &[MambaOut],
            PerLayerModel => &[PerLayerModel],
            PerLayerGate => &[PerLayerGate],
            PerLayerOut => &[PerLayerOut],
        }
    }

    /// Whether its parts lie side by side in each head, not one behind the other.
    #[must_use]
    pub const fn is_by_heads(self) -> bool {
        matches!(self, QGate)
    }
}
