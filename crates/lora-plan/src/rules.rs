//! The rules that recommendations cite, each with where it comes from.
use serde::Serialize;

/// A rule of practice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What it says.
    pub says: &'static str,
    /// Paper, code or measurement that it comes from.
    pub source: &'static str,
}

/// What a rank is enough for.
pub(crate) const FORMAT_RANK: Rule = Rule {
    says: "a change of format only needs rank 8",
    source: "Hu et al. 2021 (LoRA), section 7.2: ranks of 1 to 8 are enough on narrow tasks",
};
/// See [`FORMAT_RANK`].
pub(crate) const DOMAIN_RANK: Rule = Rule {
    says: "a new style or domain needs rank 16 to 32",
    source: "practice since Dettmers et al. 2023 (QLoRA, r 64 on all linears) and PEFT's examples (r 16)",
};
/// See [`FORMAT_RANK`].
pub(crate) const BEHAVIOUR_RANK: Rule = Rule {
    says: "new behaviour needs rank 64 or more",
    source: "Biderman et al. 2024 (LoRA learns less and forgets less): only high ranks come near full fine-tuning",
};

/// What a rank is commonly enough for.
pub(crate) fn capacity(rank: usize) -> Rule {
    match rank {
        0..=8 => FORMAT_RANK,
        9..=63 => DOMAIN_RANK,
        _ => BEHAVIOUR_RANK,
    }
}
