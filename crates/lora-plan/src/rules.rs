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
pub(crate) const STYLE_RANK: Rule = Rule {
    says: "a new style: rank 16, more than a format (8), no more than a domain (16 to 32)",
    source: "practice; PEFT's and Axolotl's example configurations",
};
/// See [`FORMAT_RANK`].
pub(crate) const DOMAIN_RANK: Rule = Rule {
    says: "a new domain needs rank 16 to 32",
    source: "practice since Dettmers et al. 2023 (QLoRA, r 64 on all linears) and PEFT's examples (r 16)",
};
/// See [`FORMAT_RANK`].
pub(crate) const BEHAVIOUR_RANK: Rule = Rule {
    says: "new behaviour needs rank 64 or more",
    source: "Biderman et al. 2024 (LoRA learns less and forgets less): only high ranks come near full fine-tuning",
};

/// How much a rank can hold.
pub(crate) const HOLDS: Rule = Rule {
    says: "new behaviour needs rank 64 or more: more, where the answers hold more than 2 bits a trainable parameter",
    source: "Allen-Zhu & Li 2024 (Physics of Language Models 3.3): 2 bits a parameter; the base's loss measured now",
};

/// What a rank is commonly enough for.
pub(crate) fn capacity(rank: usize) -> Rule {
    match rank {
        0..=8 => FORMAT_RANK,
        9..=63 => DOMAIN_RANK,
        _ => BEHAVIOUR_RANK,
    }
}

/// A learning rate for LoRA on a base of so many parameters, and where it comes from.
pub(crate) fn learning_rate(parameters: u64) -> (f64, Rule) {
    let (rate, says, source) = match parameters {
        0..10_000_000 => (
            5e-3,
            "below 10 M parameters: 5e-3",
            "measured on data/tiny-chat (2e-3, 5e-3, 1e-2: pipelines/finetune.yaml)",
        ),
        10_000_000..1_000_000_000 => (
            5e-4,
            "10 M to 1 B parameters: 5e-4",
            "measured on SmolLM2-135M (pipelines/smollm2.yaml)",
        ),
        1_000_000_000..20_000_000_000 => (
            2e-4,
            "1 B to 20 B parameters: 2e-4",
            "Dettmers et al. 2023 (QLoRA), table 9: 2e-4 for 7 B and 13 B",
        ),
        _ => (
            1e-4,
            "above 20 B parameters: 1e-4",
            "Dettmers et al. 2023 (QLoRA), table 9: 1e-4 for 33 B and 65 B",
        ),
    };
    (rate, Rule { says, source })
}

/// What alpha does.
pub(crate) const ALPHA: Rule = Rule {
    says: "alpha = rank scales by 1; 2·rank is stronger, rank/2 gentler",
    source: "Hu et al. 2021, section 4.1: alpha is fixed, tuning it is tuning the rate; 2·r in QLoRA-style recipes",
};
/// See [`ALPHA`].
pub(crate) const RSLORA: Rule = Rule {
    says: "above rank 64 scale by α/√r",
    source: "Kalajdzievski 2023 (rsLoRA): with α/r the updates of high ranks vanish",
};
/// Which modules, in which order.
pub(crate) const TARGETS: Rule = Rule {
    says: "q and v at least, then k and o, then gate, up and down",
    source: "Hu et al. 2021, section 7.1 (q and v first); Dettmers et al. 2023, figure 2 (all linears match full tuning)",
};
/// How many rows allow which rank.
pub(crate) const FEW_ROWS: Rule = Rule {
    says: "fewer than 500 rows: a lower rank and light dropout",
    source: "fewer parameters hold less by heart; QLoRA used dropout 0.05 to 0.1 on small models",
};
/// See [`FEW_ROWS`].
pub(crate) const SOME_ROWS: Rule = Rule {
    says: "500 to 2000 rows: rank 16 is safe",
    source: "practice; PEFT's and Axolotl's example configurations",
};
/// See [`FEW_ROWS`].
pub(crate) const MANY_ROWS: Rule = Rule {
    says: "more than 2000 rows justify a higher rank",
    source: "Biderman et al. 2024: the gain of a higher rank grows with the data",
};
/// Dropout.
pub(crate) const NO_DROPOUT: Rule = Rule {
    says: "dropout 0 from 500 rows",
    source: "practice; without dropout shared work on the inputs is possible, so it is faster too",
};
