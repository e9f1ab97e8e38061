//! Figures of a loss curve: where it begins and ends, its noise, its spikes.

/// A curve of losses, one a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Curve {
    /// Mean over the first steps.
    pub(crate) head: f64,
    /// Mean over the last steps.
    pub(crate) tail: f64,
    /// Standard error of `head` − `tail`, from the differences of neighbours.
    pub(crate) error: f64,
    /// Lowest mean over as many steps as `tail` has.
    pub(crate) lowest: f64,
}

impl Curve {
    /// None with fewer than eight steps, which show nothing.
    pub(crate) fn of(losses: &[f64]) -> Option<Self> {
        let n = losses.len();
        if n < 8 {
            return None;
        }
        let k = (n / 10).clamp(4, 50).min(n / 2);
        let squares: f64 = losses.windows(2).map(|w| (w[1] - w[0]).powi(2)).sum();
        let noise = (squares / (n - 1) as f64 / 2.0).sqrt();
        Some(Self {
            head: mean(&losses[..k]),
            tail: mean(&losses[n - k..]),
            error: noise * (2.0 / k as f64).sqrt(),
            lowest: losses.windows(k).map(mean).fold(f64::INFINITY, f64::min),
        })
    }

    /// Share of the loss that is gone at the end.
    pub(crate) fn fallen(&self) -> f64 {
        (self.head - self.tail) / self.head.max(1e-9)
    }

    /// True if the fall is no more than noise, or next to nothing.
    pub(crate) fn is_flat(&self) -> bool {
        self.head - self.tail < 3.0 * self.error || self.fallen() < 0.05
    }
}

/// Steps whose loss is far above those before: twice their median, and by half a nat.
pub(crate) fn spikes(losses: &[f64]) -> Vec<usize> {
    const BEFORE: usize = 15;
    let is_spike = |&at: &usize| {
        let usual = median(&losses[at - BEFORE..at]);
        losses[at] > 2.0 * usual && losses[at] - usual > 0.5
    };
    (BEFORE..losses.len()).filter(is_spike).collect()
}

/// Steps whose loss lies far above where the loss has been before: by 15 % and 0.3 nats over the lowest mean of three.
pub(crate) fn relapses(losses: &[f64]) -> Vec<usize> {
    let mut lowest = f64::INFINITY;
    let mut found = Vec::new();
    for at in 3..losses.len() {
        lowest = lowest.min(mean(&losses[at - 3..at]));
        if losses[at] > 1.15 * lowest + 0.3 {
            found.push(at);
        }
    }
    found
}

/// Arithmetic mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value in the middle; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
