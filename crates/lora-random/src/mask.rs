//! [`Mask`]: dropout, a value as a function of its coordinates, never of what was drawn before.

/// The golden ratio in 64 bits, splitmix64's increment.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// splitmix64's finaliser (Steele, Lea and Flood 2014): a bijection on 64 bits that passes BigCrush when fed a counter.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The dropout mask of one module in one micro-step.
#[derive(Debug, Clone, Copy)]
pub struct Mask {
    key: u64,
    threshold: u64,
    /// 1 / (1 − p): what a kept value is multiplied by.
    pub keep_scale: f32,
}

impl Mask {
    /// The mask keyed by (seed, micro-step, module index) that drops each value with probability `p` in [0, 1).
    #[must_use]
    pub fn new(seed: u64, step: u64, module: u64, p: f32) -> Self {
        let key = mix(
            mix(mix(seed.wrapping_add(GAMMA)) ^ step.wrapping_mul(GAMMA))
                ^ module.wrapping_mul(0xD6E8_FEB8_6659_FD93),
        );
        let threshold = (f64::from(p) * 4_294_967_296.0) as u64;
        Self {
            key,
            threshold,
            keep_scale: 1.0 / (1.0 - p),
        }
    }

    /// What an index is mixed with: for kernels that compute masks elsewhere.
    #[must_use]
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// A value is kept if the upper half of its mixed index is at least this.
    #[must_use]
    pub const fn threshold(&self) -> u64 {
        self.threshold
    }

    /// Whether the value at `index` (token · features + feature) is kept.
    #[must_use]
    pub const fn keep(&self, index: u64) -> bool {
        (mix(self.key.wrapping_add(index.wrapping_mul(GAMMA))) >> 32) >= self.threshold
    }

    /// out = mask(x) / (1 − p), where `first` is the index of `x[0]`.
    pub fn apply(&self, first: u64, x: &[f32], out: &mut [f32]) {
        for (i, (o, &v)) in out.iter_mut().zip(x).enumerate() {
            *o = if self.keep(first + i as u64) {
                v * self.keep_scale
            } else {
                0.0
            };
        }
    }
}

/// Whether dropout keeps one value: see [`Mask`].
#[must_use]
pub fn dropout_keep(seed: u64, step: u64, module: u64, index: u64, p: f32) -> bool {
    Mask::new(seed, step, module, p).keep(index)
}
