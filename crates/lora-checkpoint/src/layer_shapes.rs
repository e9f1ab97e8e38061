//! What each layer of a decoder consists of, and the shapes and names of that.
use crate::families::{
    DeltaShape, HeadNorms, Heads, MambaShape, Norm, PER_LAYER_EMBEDDING, PerLayer,
};
use crate::{ModelConfig, Projection};

impl ModelConfig {
    /// Place of the rotary embedding of a layer's queries in [`ModelConfig::ropes`]; that of its keys is the layer's own.
    #[must_use]
    pub fn query_rope(&self, layer: usize) -> Option<usize> {
        let grows = usize::from(self.facts().json.query_growth);
        self.layers[layer].rope.map(|of_keys| of_keys + grows)
    }

    /// The heads of a layer's keys and values, and the width of all its heads.
    #[must_use]
    pub fn heads_of(&self, layer: usize) -> Heads {
        let usual = Heads {
            kv: self.num_key_value_heads,
            width: self.head_dim,
        };
        match self.layers[layer].window {
            None => self.variants.full.unwrap_or(usual),
            Some(_) => usual,
        }
    }

    /// Whether a layer's values are its keys as projected.
    #[must_use]
    pub fn values_are_keys(&self, layer: usize) -> bool {
        self.variants.values_are_keys && self.layers[layer].window.is_none()
    }

    /// The inputs of each layer, if there are such.
    #[must_use]
    pub fn per_layer(&self) -> Option<PerLayer> {
        self.variants.per_layer
    }

    /// Name and shape of the table of the layers' inputs, those of all layers side by side.
    #[must_use]
    pub fn per_layer_table(&self) -> Option<(String, [usize; 2])> {
        let own = self.per_layer()?;
        let shape = [own.vocabulary, self.num_hidden_layers * own.width];
        Some((format!("{PER_LAYER_EMBEDDING}.weight"), shape))
    }

    /// (out, in) features of a projection of a layer.
    #[must_use]
    pub fn shape(&self, layer: usize, projection: Projection) -> (usize, usize) {
        let hidden = self.hidden_size;
        let mlp = self.mlp_width(layer);
        let heads = self.heads_of(layer);
        let queries = self.num_attention_heads * heads.width;
        let keys = heads.kv * heads.width;
        let delta = |of: fn(DeltaShape) -> usize| self.delta.map_or(0, of);
        let mamba = |of: fn(MambaShape) -> usize| self.mamba.map_or(0, of);
        let own = self.per_layer().map_or(0, |own| own.width);
        match projection {
            Projection::Q | Projection::OutputGate => (queries, hidden),
            Projection::QGate => (2 * queries, hidden),
            Projection::K | Projection::V => (keys, hidden),
            Projection::O => (hidden, queries),
            Projection::Gate | Projection::Up => (mlp, hidden),
            Projection::Down => (hidden, mlp),
            Projection::Qkv => (queries + 2 * keys, hidden),
            Projection::GateUp => (2 * mlp, hidden),
            Projection::DeltaQkv => (delta(DeltaShape::columns), hidden),
            Projection::DeltaZ => (delta(DeltaShape::values), hidden),
            Projection::DeltaB | Projection::DeltaA => (delta(|d| d.value_heads), hidden),
            Projection::DeltaOut => (hidden, delta(DeltaShape::values)),
            Projection::ConvIn => (3 * hidden, hidden),
            Projection::ConvOut => (hidden, hidden),
            Projection::MambaIn => (mamba(|m| m.values() + m.columns() + m.heads), hidden),
            Projection::MambaZ => (mamba(MambaShape::values), hidden),
            Projection::MambaXbc => (mamba(MambaShape::columns), hidden),
            Projection::MambaDt => (mamba(|m| m.heads), hidden),
            Projection::MambaOut => (hidden, mamba(MambaShape::values)),
            Projection::PerLayerModel => (self.num_hidden_layers * own, hidden),
            Projection::PerLayerGate => (own, hidden),
            Projection::PerLayerOut => (hidden, own),
        }
    }

    /// Whether a projection has a bias.
    #[must_use]
    pub const fn has_bias(&self, projection: Projection) -> bool {
        match projection {
            Projection::Q
            | Projection::K
            | Projection::V
            | Projection::Qkv
            | Projection::QGate
            | Projection::OutputGate => self.biases.qkv,
            Projection::O => self.biases.output,
            Projection::Gate | Projection::Up | Projection::Down | Projection::GateUp => {
                self.biases.mlp
            }
            Projection::MambaIn
            | Projection::MambaZ
            | Projection::MambaXbc
            | Projection::MambaDt => self.biases.mamba_in,
            Projection::MambaOut => self.biases.mamba_out,
            Projection::DeltaQkv
            | Projection::DeltaZ
            | Projection::DeltaB
            | Projection::DeltaA
            | Projection::DeltaOut
            | Projection::ConvIn
            | Projection::ConvOut
            | Projection::PerLayerModel
            | Projection::PerLayerGate
            | Projection::PerLayerOut => false,
        }
    }

    /// Whether some layer keeps a state: a sequence can't begin with rows of another then.
    #[must_use]
    pub fn is_recurrent(&self) -> bool {
        let mut layers = self.layers.iter();
        layers.any(|layer| layer.keeps_state())
    }

    /// Name of a linear layer without `.weight`, e.g. `model.layers.3.mlp.up_proj`.
    #[must_use]
    pub fn path(&self, projection: Projection, layer: usize) -> String {
        let own = self.facts().path(projection);
        match projection {
            Projection::PerLayerModel => format!("model.{own}"),
            _ => format!("model.layers.{layer}.{own}"),
        }
    }

    /// Name of a layer's norm without `.weight`, if it has it. The norm of the layers' inputs stands with the first layer's.
    #[must_use]
    pub fn norm_path(&self, layer: usize, norm: Norm) -> Option<String> {
        let own = self.facts().norm(norm)?;
        let has_attention = self.layers[layer].has_attention();
        let has = match norm {
            Norm::Query => has_attention,
            Norm::Key => has_attention && self.keys_of(layer).is_none(),
            Norm::PerLayerInput => layer == 0 && self.per_layer().is_some(),
            Norm::PerLayerOutput => self.per_layer().is_some(),
            _ => true,
        };
        has.then(|| match norm {
            Norm::PerLayerInput => format!("model.{own}"),
            _ => format!("model.layers.{layer}.{own}"),
        })
    }

    /// Width of a norm of a layer, that of its weight.
    #[must_use]
    pub fn norm_width(&self, layer: usize, norm: Norm) -> usize {
        let projection = match norm {
            Norm::Query => Projection::Q,
            Norm::Key => Projection::K,
            Norm::PerLayerInput => return self.per_layer().map_or(0, |own| own.width),
            _ => return self.hidden_size,
        };
        match self.facts().head_norms {
            HeadNorms::EachHead | HeadNorms::EachRotatedHead => self.heads_of(layer).width,
            HeadNorms::AllHeads => self.shape(layer, projection).0,
        }
    }

    /// Name of the scores of a layer's attention sinks, if it has such.
    #[must_use]
    pub fn sinks(&self, layer: usize) -> Option<String> {
        let own = self.facts().sinks?;
        Some(format!("model.layers.{layer}.{own}"))
    }

    /// Name of the number that a layer's output is multiplied by, if it has one.
    #[must_use]
    pub fn output_scale(&self, layer: usize) -> Option<String> {
        let own = self.facts().output_scale?;
        Some(format!("model.layers.{layer}.{own}"))
    }
}
