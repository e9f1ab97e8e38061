//! Decay from token to token in a chunk, and the gradients of its logarithms.
use super::shape::CHUNK;

/// Decay from before the chunk to each token, from each to the last, and from j to i at (i, j): e^(Gᵢ − Gⱼ), zero for j > i.
/// G are sums of the logarithms up to each token. They grow where decay is fast, and the difference of neighbours is as small
/// as ever: hence in double precision.
///
/// # Panics
/// If there is too little room.
pub(crate) fn decay(sums: &[f64], since: &mut [f32], until: &mut [f32], between: &mut [f32]) {
    let c = sums.len();
    let last = sums.last().copied().unwrap_or_default();
    for (i, row) in between.chunks_exact_mut(c).take(c).enumerate() {
        since[i] = (sums[i] as f32).exp();
        until[i] = ((last - sums[i]) as f32).exp();
        for (to, earlier) in row.iter_mut().zip(&sums[..=i]) {
            *to = ((sums[i] - earlier) as f32).exp();
        }
        row[i + 1..].fill(0.0);
    }
}

/// Gradients of g, the logarithm of a token's decay, in a chunk: of each term with all that it decays by, so that nothing is
/// added which is later taken off again. What is left of that would drown the little that fast decay leaves.
#[derive(Debug)]
pub(crate) struct Decays {
    /// Of each token's g.
    pub(crate) own: [f32; CHUNK],
    /// Of each token's G, the sum of g up to it.
    pub(crate) since: [f32; CHUNK],
}

impl Decays {
    pub(crate) fn new() -> Self {
        Self {
            own: [0.0; CHUNK],
            since: [0.0; CHUNK],
        }
    }

    /// Of each token's g, with its share of all sums from it on.
    pub(crate) fn whole(mut self) -> [f32; CHUNK] {
        let mut later = 0.0;
        for (own, since) in self.own.iter_mut().zip(self.since).rev() {
            later += since;
            *own += later;
        }
        self.own
    }
}
