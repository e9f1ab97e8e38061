//! What happens to scores between the products. In each, keys are rows `stride` values apart, and the lanes of one cache
//! line are worked on together.
use super::shape::LINE;
use crate::dispatch::vectorised;
use crate::vector::{exp, tanh};

vectorised! {
    /// One vector of lanes: score s becomes c·tanh(s/c).
    pub(super) fn soft_cap(scores: &mut [f32], stride: usize, cap: f32) {
        for lanes in scores.chunks_mut(stride).filter_map(|row| row.first_chunk_mut::<LINE>()) {
            lanes.iter_mut().for_each(|s| *s = cap * tanh(*s / cap));
        }
    }
}

vectorised! {
    /// One vector of lanes: scores become e^(score − largest); returns the largest and the sums.
    pub(super) fn softmax(scores: &mut [f32], stride: usize) -> ([f32; LINE], [f32; LINE]) {
        let mut largest = [f32::NEG_INFINITY; LINE];
        for lanes in scores.chunks(stride).filter_map(|row| row.first_chunk::<LINE>()) {
            for i in 0..LINE {
                largest[i] = if lanes[i] > largest[i] { lanes[i] } else { largest[i] };
            }
        }
        let mut totals = [0.0; LINE];
        for lanes in scores.chunks_mut(stride).filter_map(|row| row.first_chunk_mut::<LINE>()) {
            for i in 0..LINE {
                lanes[i] = exp(lanes[i] - largest[i]);
                totals[i] += lanes[i];
            }
        }
        (largest, totals)
    }
}

/// Scores of one vector of lanes, keys `stride` values apart, on the way back.
pub(super) struct Lanes<'a> {
    /// Scores, which become probabilities.
    pub(super) p: &'a mut [f32],
    /// Gradients of the probabilities, which become those of the scores.
    pub(super) ds: &'a mut [f32],
    pub(super) stride: usize,
    /// Log-sum-exp of each lane.
    pub(super) lse: &'a [f32; LINE],
    /// Σ p·dp of each lane.
    pub(super) delta: &'a [f32; LINE],
}

vectorised! {
    /// One vector of lanes: scores → probabilities, dP → dS.
    pub(super) fn score_gradient(lanes: Lanes<'_>, softcap: Option<f32>) {
        let Lanes { p, ds, stride, lse, delta } = lanes;
        for (p, ds) in p.chunks_mut(stride).zip(ds.chunks_mut(stride)) {
            let Some(p) = p.first_chunk_mut::<LINE>() else { return };
            let Some(ds) = ds.first_chunk_mut::<LINE>() else { return };
            match softcap {
                None => {
                    for i in 0..LINE {
                        p[i] = exp(p[i] - lse[i]);
                        ds[i] = p[i] * (ds[i] - delta[i]);
                    }
                }
                Some(cap) => {
                    for i in 0..LINE {
                        let t = tanh(p[i] / cap);
                        p[i] = exp(cap * t - lse[i]);
                        ds[i] = p[i] * (ds[i] - delta[i]) * (1.0 - t * t);
                    }
                }
            }
        }
    }
}
