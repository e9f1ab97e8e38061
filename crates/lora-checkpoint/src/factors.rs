//! Factors beside the matrices and around them, where a family has them: what they are. Which rows they meet stands in `row_factors`.

/// Factors beside the matrices, where a family has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multipliers {
    /// Embeddings are multiplied by it.
    pub embedding: f64,
    /// Scores are multiplied by it; none: divided by √`query_pre_attn_scalar`.
    pub attention: Option<f64>,
    /// The outputs of attention and MLP are multiplied by it before they are added to the hidden state.
    pub residual: f64,
    /// Logits are divided by it.
    pub logits: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self {
            embedding: 1.0,
            attention: None,
            residual: 1.0,
            logits: 1.0,
        }
    }
}

/// Factors around linear layers (µP; Yang et al. 2022): what a layer reads is multiplied by one, what its rows give by others.
/// A bias is added between the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Of what q, k and v read.
    pub attention_in: f64,
    /// Of attention's output.
    pub attention_out: f64,
    /// Of keys.
    pub key: f64,
    /// Of what Mamba-2 reads.
    pub ssm_in: f64,
    /// Of its output.
    pub ssm_out: f64,
    /// Of its gate, x, B, C, and what steps are made of.
    pub ssm: [f64; 5],
    /// Of the MLP's gate, before its activation, and of the MLP's output.
    pub mlp: [f64; 2],
}

impl Factors {
    /// All are 1.
    pub const NONE: Self = Self {
        attention_in: 1.0,
        attention_out: 1.0,
        key: 1.0,
        ssm_in: 1.0,
        ssm_out: 1.0,
        ssm: [1.0; 5],
        mlp: [1.0; 2],
    };

    /// The factors under config.json's keys, a list's one by one.
    pub(crate) fn named(&self) -> Vec<(&'static str, f64)> {
        let mut all = vec![
            ("attention_in_multiplier", self.attention_in),
            ("attention_out_multiplier", self.attention_out),
            ("key_multiplier", self.key),
            ("ssm_in_multiplier", self.ssm_in),
            ("ssm_out_multiplier", self.ssm_out),
        ];
        all.extend(self.ssm.map(|factor| ("ssm_multipliers", factor)));
        all.extend(self.mlp.map(|factor| ("mlp_multipliers", factor)));
        all
    }
}
