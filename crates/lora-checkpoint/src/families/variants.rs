//! What the attention layers of one decoder can have of their own: heads of another width, keys and values of an earlier
//! layer, an input of each layer that is looked up by token. No family is named here.

/// Heads of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// How many.
    pub kv: usize,
    /// Width of one, and of a query's.
    pub width: usize,
}

/// An input of each layer (Gemma 3n's and 4's per-layer embeddings), beside the hidden state: of each token and layer a
/// vector, looked up in a table of its own and added to a projection of the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerLayer {
    /// Width of one layer's.
    pub width: usize,
    /// Rows of the table.
    pub vocabulary: usize,
}

/// Where the layers of a model differ, beside windows and rotary embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Variants {
    /// Heads of the layers without a window, where those are others.
    pub full: Option<Heads>,
    /// In layers without a window the values are the projected keys.
    pub values_are_keys: bool,
    /// So many last layers read the keys and values of the last layer of their kind (with a window, or without) before them.
    pub sharing: usize,
    /// The MLP of those is twice as wide.
    pub double_wide: bool,
    /// The inputs of each layer.
    pub per_layer: Option<PerLayer>,
}

/// What a family's config.json means by absent keys of [`Variants`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct VariantDefaults {
    /// Width of a head in layers without a window.
    pub(crate) full_width: usize,
    /// Of the inputs of each layer.
    pub(crate) per_layer: PerLayer,
}

/// Path of the table of the layers' inputs.
pub const PER_LAYER_EMBEDDING: &str = "model.embed_tokens_per_layer";
