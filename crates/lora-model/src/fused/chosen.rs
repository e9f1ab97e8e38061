//! Which experts the tokens of a pass chose, and passes that send them to the same ones: two models that differ by rounding
//! can be compared so, for near a tie rounding decides.
use lora_kernels::experts::{Choice, Routing};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The experts of each token, in each layer that has some.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChosenExperts {
    /// k a token, by layer.
    layers: BTreeMap<usize, OfLayer>,
}

#[derive(Debug, Clone, PartialEq)]
struct OfLayer {
    chosen: usize,
    /// (T, k).
    experts: Vec<u32>,
    /// By how much the experts lead that each token goes to, (T).
    leads: Vec<f32>,
}

impl ChosenExperts {
    /// Tokens for which the other pass chose otherwise in some layer, in whatever order.
    #[must_use]
    pub fn tokens_elsewhere(&self, other: &Self) -> usize {
        let elsewhere = self.elsewhere(other).map(|(_, token)| token);
        elsewhere.collect::<BTreeSet<_>>().len()
    }

    /// The layers and tokens where the other pass chose otherwise, in whatever order.
    pub fn elsewhere<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.layers.iter().flat_map(|(layer, own)| {
            let theirs = other.layers.get(layer).into_iter();
            let both = theirs.flat_map(|theirs| own.tokens().zip(theirs.tokens()).enumerate());
            let differ = both.filter(|(_, (own, theirs))| own != theirs);
            differ.map(|(token, _)| (*layer, token))
        })
    }

    /// By how much the experts lead that each token of a layer goes to: the least of their scores, with what is added to them
    /// for the choice, less the largest of the others'. It is below 0 where a token that follows another pass would have chosen
    /// otherwise. Nothing of a layer without experts.
    #[must_use]
    pub fn leads(&self, layer: usize) -> &[f32] {
        self.layers.get(&layer).map_or(&[], |own| &own.leads)
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

/// By how much the experts lead that the tokens of a layer go to.
fn leads(
    scores: &[f32],
    (choice, biases): (Choice, Option<&[f32]>),
    routing: &Routing,
) -> Vec<f32> {
    let rows = scores.chunks(choice.experts.max(1));
    let own = routing.experts().chunks(choice.chosen.max(1));
    let both = rows.zip(own);
    both.map(|(scores, own)| lead(scores, biases, own))
        .collect()
}

/// The least of the chosen less the largest of the others, biases added.
fn lead(scores: &[f32], biases: Option<&[f32]>, chosen: &[u32]) -> f32 {
    let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
    for (expert, &score) in scores.iter().enumerate() {
        let score = score + biases.map_or(0.0, |biases| biases[expert]);
        match chosen.contains(&(expert as u32)) {
            true => least = least.min(score),
            false => most = most.max(score),
        }
    }
    least - most
}

/// What a pass does with the choice of experts beside choosing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chooser {
    /// Where it leaves what its tokens chose, or would have chosen.
    seen: Option<Arc<Mutex<ChosenExperts>>>,
    /// The experts that they go to in place of those.
    followed: Option<Arc<ChosenExperts>>,
}

impl Chooser {
    /// One that sees, until [`Self::ended`], and follows what is given.
    pub(crate) fn begun(followed: Option<ChosenExperts>) -> Self {
        Self {
            seen: Some(Arc::default()),
            followed: followed.map(Arc::new),
        }
    }

    /// One that follows what is given, and sees nothing.
    pub(crate) fn following(followed: ChosenExperts) -> Self {
        Self {
            seen: None,
            followed: Some(Arc::new(followed)),
        }
    }

    /// Whether it follows another pass.
    pub(crate) fn follows(&self) -> bool {
        self.followed.is_some()
    }

    /// What was seen.
    pub(crate) fn ended(self) -> ChosenExperts {
        let seen = self.seen.unwrap_or_default();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut seen)
    }

    /// Decides where the tokens of a layer go, with what is added to scores for the choice alone.
    ///
    /// # Panics
    /// If it follows a pass over other tokens.
    pub(crate) fn choose(
        &self,
        layer: usize,
        probabilities: &[f32],
        (choice, biases): (Choice, Option<&[f32]>),
        routing: &mut Routing,
    ) {
        routing.choose(probabilities, choice, biases);
        let chosen = self.seen.as_ref().map(|_| routing.experts().to_vec());
        let followed = self.followed.as_ref();
        if let Some(given) = followed.and_then(|followed| followed.layers.get(&layer)) {
            routing.follow(probabilities, choice, &given.experts);
        }
        if let Some((seen, experts)) = self.seen.as_ref().zip(chosen) {
            let own = OfLayer {
                chosen: choice.chosen,
                experts,
                leads: leads(probabilities, (choice, biases), routing),
            };
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.layers.insert(layer, own);
        }
    }
}
