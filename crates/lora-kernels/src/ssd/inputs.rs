//! What the rule reads, and its steps: Δ = softplus(dt + bias), kept within limits.

/// What the rule reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// x of all heads, B and C of all groups side by side, (T, [`Shape::columns`](super::Shape::columns)), as the convolution
    /// gives them.
    pub mixed: &'a [f32],
    /// What steps are made of, (T, heads).
    pub dt: &'a [f32],
    /// What a layer has learned.
    pub learned: Learned<'a>,
}

/// What a layer learns, one number a head each, and the limits of its steps.
#[derive(Debug, Clone, Copy)]
pub struct Learned<'a> {
    /// The logarithm of the rate of decay, −A.
    pub a_log: &'a [f32],
    /// Added to dt.
    pub dt_bias: &'a [f32],
    /// What of x goes past the state.
    pub d: &'a [f32],
    /// The least and the largest step.
    pub limits: [f32; 2],
}

/// torch's threshold: above it softplus is the identity.
const THRESHOLD: f32 = 20.0;

impl Learned<'_> {
    /// A.
    pub(super) fn rate(&self, head: usize) -> f32 {
        -self.a_log[head].exp()
    }

    /// Δ of a token at a head.
    pub(super) fn step(&self, head: usize, dt: f32) -> f32 {
        let [least, most] = self.limits;
        softplus(dt + self.dt_bias[head]).max(least).min(most)
    }

    /// dΔ/d dt.
    pub(super) fn slope(&self, head: usize, dt: f32) -> f32 {
        let x = dt + self.dt_bias[head];
        let [least, most] = self.limits;
        if !(least..=most).contains(&softplus(x)) {
            return 0.0;
        }
        if x > THRESHOLD {
            1.0
        } else {
            1.0 / (1.0 + (-x).exp())
        }
    }
}

fn softplus(x: f32) -> f32 {
    if x > THRESHOLD { x } else { x.exp().ln_1p() }
}
