//! Well-known models, so that a plan needs no download. Their shapes stand with their families.
use lora_checkpoint::{Family, ModelConfig, Published};
use std::ops::Deref;

/// A published model, and the family whose layers it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    family: Family,
    shape: &'static Published,
}

impl Deref for Known {
    type Target = Published;

    fn deref(&self) -> &Published {
        self.shape
    }
}

impl Known {
    /// All models known by name, family by family.
    pub fn all() -> Vec<Self> {
        Family::all()
            .flat_map(|family| {
                let shapes = family.facts().published.iter();
                shapes.map(move |shape| Self { family, shape })
            })
            .collect()
    }

    /// The model of a name, in any case; `-instruct`, `-chat` and the like change no shape.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::all().into_iter().find(|k| {
            name == k.name
                || name
                    .strip_prefix(k.name)
                    .is_some_and(|rest| rest.starts_with('-'))
        })
    }

    /// Its shape as a config; what doesn't change a count is left at a plain value.
    pub fn config(&self) -> ModelConfig {
        ModelConfig::published(self.family, self.shape)
    }
}
