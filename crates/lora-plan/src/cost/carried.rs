//! What a model carries in a run: an adapter's config, and all that it trains there.
use crate::model::shape::Shape;
use lora_cli::Result;
use lora_core::{Layout, LoraConfig};
use lora_model::spec;

/// An adapter on a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// As PEFT configures it.
    pub config: LoraConfig,
    /// What trains.
    pub layout: Layout,
}

impl Carried {
    /// What a config makes of a shape.
    ///
    /// # Errors
    /// When it names what the model has not.
    pub fn of(shape: &Shape, config: LoraConfig) -> Result<Self> {
        let layout = config.layout(&shape.modules())?;
        Ok(Self { config, layout })
    }

    /// The parameters as they began are kept, too.
    pub(crate) fn keeps_origin(&self) -> bool {
        self.config.init.changes_base()
    }

    /// The embedding trains as a whole, or rows of it.
    pub(crate) fn trains_embedding(&self) -> bool {
        spec::trains_embedding(&self.layout.trained, &self.layout.rows)
    }
}
