//! How much of the adapter's effect on the logits the merged model has.
/// The difference d = merged − adapted against the adapter's effect e = adapted − base, summed over all logits.
///
/// A merge with the wrong scaling or without one of its modules differs along e. Rounding does so only as far as it
/// swallows small changes, and how far that is, is known from the weights. So 1 + Σde/Σee is what the weights kept, up
/// to its error, which is taken from what is left of d, with the tokens as independent samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AlongEffect {
    ee: f64,
    de: f64,
    dd: f64,
}

impl AlongEffect {
    pub(super) fn add(&mut self, merged: &[f32], adapted: &[f32], plain: &[f32]) {
        for ((&m, &a), &p) in merged.iter().zip(adapted).zip(plain) {
            let (d, e) = (f64::from(m - a), f64::from(a - p));
            self.ee += e * e;
            self.de += d * e;
            self.dd += d * d;
        }
    }

    /// Kept share and its standard error; an adapter without effect has nothing to keep.
    pub(super) fn kept(&self, tokens: usize) -> (f64, f64) {
        if self.ee == 0.0 {
            return (1.0, 0.0);
        }
        let along = self.de / self.ee;
        let rest = (self.dd / self.ee - along * along).max(0.0);
        (1.0 + along, (rest / tokens as f64).sqrt())
    }
}
