//! What the rule reads, and its gates: β = σ(b) says how much of a value is written, g = −e^A·softplus(a + bias) how fast the state decays.

/// What the rule reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Queries, keys and values of all heads side by side, (T, [`Shape::columns`](super::Shape::columns)), as the convolution gives them.
    pub mixed: &'a [f32],
    /// What decay is made of, (T, value heads).
    pub a: &'a [f32],
    /// What β is made of, (T, value heads).
    pub b: &'a [f32],
    /// What the gates have learned.
    pub gates: Gates<'a>,
}

/// What a layer's gates learn, one number a value head each.
#[derive(Debug, Clone, Copy)]
pub struct Gates<'a> {
    /// The logarithm of the rate of decay.
    pub a_log: &'a [f32],
    /// Added to a.
    pub dt_bias: &'a [f32],
}

/// torch's threshold: above it softplus is the identity.
const THRESHOLD: f32 = 20.0;

impl Gates<'_> {
    /// g of a token at a head.
    pub(super) fn decay(&self, head: usize, a: f32) -> f32 {
        let x = a + self.dt_bias[head];
        let softplus = if x > THRESHOLD { x } else { x.exp().ln_1p() };
        -self.a_log[head].exp() * softplus
    }

    /// dg/da.
    pub(super) fn slope(&self, head: usize, a: f32) -> f32 {
        let x = a + self.dt_bias[head];
        let sigmoid = if x > THRESHOLD { 1.0 } else { logistic(x) };
        -self.a_log[head].exp() * sigmoid
    }
}

/// β from b.
pub(super) fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
