//! AdamW and global-norm clipping over flat parameters, in a fixed summation order.

/// Hyperparameters of one AdamW step (torch.optim.AdamW).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε, outside the root.
    pub eps: f32,
    /// Decoupled weight decay λ.
    pub weight_decay: f32,
}

/// √Σ g², accumulated in f64 in index order.
pub fn global_norm(_gradients: &[f32]) -> f64 {
    todo!()
}

/// torch's clip_grad_norm_ factor: min(1, max_norm / (norm + 1e-6)); 1 where `max_norm` is 0 (clipping off).
pub fn clip_factor(_norm: f64, _max_norm: f64) -> f32 {
    todo!()
}

impl AdamW {
    /// One step in place. `t` counts from 1; gradients are multiplied by `clip` first; `m`, `v` are the moments.
    pub fn step(&self, _params: &mut [f32], _gradients: &[f32], _m: &mut [f32], _v: &mut [f32], _t: u64, _lr: f64, _clip: f32) {
        todo!()
    }
}
