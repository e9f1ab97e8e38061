//! Which experts the tokens of a pass chose, and passes that send them to the same ones: two models that differ by rounding
//! can be compared so, for near a tie rounding decides.
use super::mixture::Mixture;
use lora_kernels::experts::Routing;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The experts of each token, in each layer that has some.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChosenExperts {
    /// k a token, by layer.
    layers: BTreeMap<usize, OfLayer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OfLayer {
    chosen: usize,
    /// (T, k).
    experts: Vec<u32>,
}

impl ChosenExperts {
    /// Tokens for which the other pass chose otherwise in some layer, in whatever order.
    #[must_use]
    pub fn tokens_elsewhere(&self, other: &Self) -> usize {
        let mut elsewhere = Vec::new();
        for (layer, own) in &self.layers {
            let Some(theirs) = other.layers.get(layer) else {
                continue;
            };
            let both = own.tokens().zip(theirs.tokens()).enumerate();
            for (token, (own, theirs)) in both {
                if own != theirs {
                    elsewhere.push(token);
                }
            }
        }
        elsewhere.sort_unstable();
        elsewhere.dedup();
        elsewhere.len()
    }
}

impl OfLayer {
    /// The experts of each token, sorted.
    fn tokens(&self) -> impl Iterator<Item = Vec<u32>> + '_ {
        self.experts.chunks(self.chosen.max(1)).map(|experts| {
            let mut experts = experts.to_vec();
            experts.sort_unstable();
            experts
        })
    }
}

/// What a pass does with the choice of experts beside choosing.
#[derive(Debug, Clone, Default)]
pub(super) struct Chooser {
    /// Where it leaves what its tokens chose, or would have chosen.
    seen: Option<Arc<Mutex<ChosenExperts>>>,
    /// The experts that they go to in place of those.
    followed: Option<Arc<ChosenExperts>>,
}

impl Chooser {
    /// One that sees, until [`Self::ended`], and follows what is given.
    pub(super) fn begun(followed: Option<ChosenExperts>) -> Self {
        Self {
            seen: Some(Arc::default()),
            followed: followed.map(Arc::new),
        }
    }

    /// What was seen.
    pub(super) fn ended(self) -> ChosenExperts {
        let seen = self.seen.unwrap_or_default();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen)
    }

    /// Decides where the tokens of a layer go.
    pub(super) fn choose(
        &self,
        layer: usize,
        probabilities: &[f32],
        mixture: &Mixture<'_>,
        routing: &mut Routing,
    ) {
        let choice = mixture.choice;
        routing.choose(probabilities, choice, mixture.choice_bias.as_deref());
        if let Some(seen) = &self.seen {
            let own = OfLayer {
                chosen: choice.chosen,
                experts: routing.experts().to_vec(),
            };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.layers.insert(layer, own);
        }
        let followed = self.followed.as_ref();
        if let Some(given) = followed.and_then(|followed| followed.layers.get(&layer)) {
            routing.follow(probabilities, choice, &given.experts);
        }
    }
}
