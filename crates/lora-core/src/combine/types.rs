//! Ways to combine adapters, and what comes out.
use crate::Adapter;

/// How several adapters become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Combination {
    /// The exact sum: the factors side by side, of rank Σ rᵢ.
    Cat,
    /// The best approximation of the sum of this rank (singular value decomposition).
    Svd {
        /// Rank of the result.
        rank: usize,
    },
    /// Sums of the A and of the B, each weighted by √|wᵢ·sᵢ|: cheap and rough, since it adds the products of one
    /// adapter's B with another's A.
    Linear,
    /// TIES (arXiv 2306.01708) on A and B: the largest values of each, the majority's sign, the mean of those that agree.
    Ties {
        /// Share of values kept, in (0, 1].
        density: f64,
    },
    /// DARE (arXiv 2311.03099) on A and B: values dropped at random, the rest divided by the density, then as `Linear`.
    Dare {
        /// Share of values kept, in (0, 1].
        density: f64,
        /// Of the generator.
        seed: u64,
    },
    /// DARE's dropping, then TIES' signs and means.
    DareTies {
        /// Share of values kept, in (0, 1].
        density: f64,
        /// Of the generator.
        seed: u64,
    },
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Combined {
    /// One plain LoRA: scaling 1 (alpha = rank), every module of any of the adapters.
    pub adapter: Adapter,
    /// By module of the adapter, how far it lies from the exact sum.
    pub deviations: Vec<Deviation>,
}

/// ‖·‖ is Frobenius' norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Deviation {
    /// Module path.
    pub path: String,
    /// ‖Σ wᵢ·ΔWᵢ‖.
    pub sum: f64,
    /// ‖ΔW of the result − Σ wᵢ·ΔWᵢ‖, without the rounding of the result to f32.
    pub error: f64,
}

impl Combined {
    /// The error over all modules, relative to the sum; None if the sum is zero.
    pub fn relative_error(&self) -> Option<f64> {
        let norm = |part: fn(&Deviation) -> f64| {
            self.deviations
                .iter()
                .map(|d| part(d).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        let sum = norm(|d| d.sum);
        (sum > 0.0).then(|| norm(|d| d.error) / sum)
    }
}
