//! Named choices: sets of target modules, and whole settings for people who don't want to choose.
use crate::Role;

/// Named sets of targets, by the roles of their modules. `all-linear` and `default` are PEFT's own words and none of them.
pub const TARGET_PRESETS: [(&str, &[Role]); 3] = [
    ("attention", &[Role::Query, Role::Value]),
    (
        "full-attention",
        &[Role::Query, Role::Key, Role::Value, Role::Output],
    ),
    (
        "all",
        &[
            Role::Query,
            Role::Key,
            Role::Value,
            Role::Output,
            Role::Gate,
            Role::Up,
            Role::Down,
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
