//! [`Bias`]: PEFT's `bias`.

/// PEFT's `bias`: which biases of the base train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of targeted modules.
    LoraOnly,
}

impl Bias {
    /// PEFT's words.
    pub const WORDS: [(&str, Self); 3] = [
        ("none", Self::None),
        ("all", Self::All),
        ("lora_only", Self::LoraOnly),
    ];

    /// PEFT's word.
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, bias)| *bias == self)
            .map_or("none", |(word, _)| word)
    }

    /// The bias option of a word.
    pub fn named(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, bias)| *bias)
    }
}
