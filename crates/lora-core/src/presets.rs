//! Named choices: sets of target modules, and whole settings for people who don't want to choose.

/// Named sets of target modules (of Llama-like decoders). `all-linear` is PEFT's own word and no preset.
pub const TARGET_PRESETS: [(&str, &[&str]); 3] = [
    ("attention", &["q_proj", "v_proj"]),
    ("full-attention", &["q_proj", "k_proj", "v_proj", "o_proj"]),
    (
        "all",
        &[
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ],
    ),
];

/// A whole setting of rank, alpha, targets and dropout under one name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// Rank r.
    pub rank: usize,
    /// α.
    pub alpha: f64,
    /// Name of a set in [`TARGET_PRESETS`].
    pub targets: &'static str,
    /// Dropout on the adapter's input.
    pub dropout: f64,
}

impl Preset {
    /// All presets, smallest first.
    pub const ALL: [Self; 3] = [
        Self {
            name: "conservative",
            rank: 8,
            alpha: 8.0,
            targets: "attention",
            dropout: 0.05,
        },
        Self {
            name: "balanced",
            rank: 16,
            alpha: 16.0,
            targets: "all",
            dropout: 0.0,
        },
        Self {
            name: "maximum",
            rank: 64,
            alpha: 64.0,
            targets: "all",
            dropout: 0.0,
        },
    ];

    /// The preset of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name == name)
    }
}
