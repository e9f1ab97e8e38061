//! [`Generator`]: a stream of values for one purpose.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// A stream of random values, ChaCha with eight rounds.
#[derive(Debug, Clone)]
pub struct Generator(ChaCha8Rng);

impl Generator {
    /// The stream of one name (a module, a tensor) for one purpose.
    pub fn named(purpose: &str, seed: u64, name: &str) -> Self {
        let key = Sha256::new()
            .chain_update(purpose)
            .chain_update(b"\0")
            .chain_update(seed.to_le_bytes())
            .chain_update(name);
        Self(ChaCha8Rng::from_seed(key.finalize().into()))
    }

    /// The stream of one step (an epoch) for one purpose.
    pub fn at_step(purpose: &str, seed: u64, step: u64) -> Self {
        let key = Sha256::new()
            .chain_update(purpose)
            .chain_update(seed.to_le_bytes())
            .chain_update(step.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key.finalize().into()))
    }

    /// The stream of one weight of a model that starts at random.
    pub fn of_weight(seed: u64, name: &str) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a of the name picks the stream.
        let stream = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        rng.set_stream(stream);
        Self(rng)
    }

    /// The next value, uniform in [0, 1) in steps of 2⁻³².
    pub fn unit(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    /// Fills with values uniform in [−bound, bound).
    pub fn uniform(&mut self, bound: f32, out: &mut [f32]) {
        for value in out {
            let unit = (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32; // [0, 1), every value exact
            *value = (2.0 * unit - 1.0) * bound;
        }
    }

    /// Fills with N(0, deviation²) (Box and Muller 1958).
    pub fn normal(&mut self, deviation: f32, out: &mut [f32]) {
        let mut unit = || (f64::from(self.0.next_u32() >> 8) + 0.5) / f64::from(1u32 << 24); // inside (0, 1)
        for pair in out.chunks_mut(2) {
            let radius = (-2.0 * unit().ln()).sqrt();
            let angle = std::f64::consts::TAU * unit();
            for (value, part) in pair.iter_mut().zip([angle.cos(), angle.sin()]) {
                *value = deviation * (radius * part) as f32;
            }
        }
    }

    /// A uniform integer below `bound` (at least 1), without modulo bias.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let usable = u64::MAX - u64::MAX % bound;
        loop {
            let value = self.0.next_u64();
            if value < usable {
                return value % bound;
            }
        }
    }

    /// 0..n in random order (Fisher and Yates, from the end).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}
