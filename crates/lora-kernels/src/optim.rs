//! AdamW and global-norm clipping over flat parameters, in a fixed summation order.
use crate::dispatch::vectorised;
use rayon::prelude::*;

/// Values that a thread updates at once.
const PART: usize = 1 << 14;

/// Hyperparameters of AdamW as torch.optim.AdamW has them (decoupled decay, ε outside the root, bias correction).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε, added after the root.
    pub eps: f32,
    /// Decoupled weight decay λ.
    pub weight_decay: f32,
}

impl Default for AdamW {
    /// torch's defaults but for the decay, which is 0.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

vectorised! {
    /// √Σ g², accumulated in f64 in eight interleaved sums.
    #[must_use]
    pub fn global_norm(gradients: &[f32]) -> f64 {
        let (chunks, rest) = gradients.as_chunks::<8>();
        let mut lanes = [0.0f64; 8];
        for chunk in chunks {
            for (lane, &g) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(g) * f64::from(g);
            }
        }
        let rest: f64 = rest.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        (lanes.iter().sum::<f64>() + rest).sqrt()
    }
}

/// torch's clip_grad_norm_ factor: min(1, max_norm / (norm + 1e-6)); 1 where `max_norm` is 0 (clipping off).
#[must_use]
pub fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    if max_norm <= 0.0 {
        1.0
    } else {
        (max_norm / (norm + 1e-6)).min(1.0) as f32
    }
}

/// First and second moments of the gradients, one of each a parameter.
#[derive(Debug)]
pub struct Moments<'a> {
    /// m.
    pub first: &'a mut [f32],
    /// v.
    pub second: &'a mut [f32],
}

/// One step among all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// t, counted from 1.
    pub number: u64,
    /// Learning rate.
    pub lr: f64,
    /// What gradients are multiplied by first, see [`clip_factor`].
    pub clip: f32,
}

impl AdamW {
    /// What one step multiplies with: for kernels that take it elsewhere.
    #[must_use]
    pub fn factors(&self, step: Step) -> Factors {
        let power = step.number.min(i32::MAX as u64) as i32;
        let correction1 = 1.0 - f64::from(self.beta1).powi(power);
        let correction2 = (1.0 - f64::from(self.beta2).powi(power)).sqrt() as f32;
        Factors {
            clip: step.clip,
            decay: (1.0 - step.lr * f64::from(self.weight_decay)) as f32,
            step_size: (step.lr / correction1) as f32,
            correction2,
        }
    }

    /// One step in place (Loshchilov and Hutter 2019, torch's order of operations).
    ///
    /// # Panics
    /// If the slices' lengths differ.
    pub fn step(&self, params: &mut [f32], gradients: &[f32], moments: Moments<'_>, step: Step) {
        let n = params.len();
        let Moments { first, second } = moments;
        assert!(
            gradients.len() == n && first.len() == n && second.len() == n,
            "AdamW: lengths differ"
        );
        let factors = self.factors(step);
        params
            .par_chunks_mut(PART)
            .zip(gradients.par_chunks(PART))
            .zip(first.par_chunks_mut(PART).zip(second.par_chunks_mut(PART)))
            .for_each(|((params, gradients), (m, v))| {
                update(params, gradients, m, v, self, factors);
            });
    }
}

/// What is the same for all values of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Of gradients.
    pub clip: f32,
    /// Of parameters: 1 − learning rate · weight decay.
    pub decay: f32,
    /// Learning rate / (1 − β₁ᵗ).
    pub step_size: f32,
    /// √(1 − β₂ᵗ).
    pub correction2: f32,
}

vectorised! {
    fn update(params: &mut [f32], gradients: &[f32], m: &mut [f32], v: &mut [f32], adamw: &AdamW, with: Factors) {
        for (((p, &g), m), v) in params.iter_mut().zip(gradients).zip(m).zip(v) {
            let g = g * with.clip;
            *m += (g - *m) * (1.0 - adamw.beta1);
            *v = *v * adamw.beta2 + (1.0 - adamw.beta2) * g * g;
            *p = *p * with.decay - with.step_size * (*m / (v.sqrt() / with.correction2 + adamw.eps));
        }
    }
}
