//! All that the page shows.
use crate::inputs::Loaded;
use crate::measured::Measured;
use crate::plan::Plan;
use lora_records::Report;
use serde_json::Value;

/// All that the page shows.
pub(crate) struct Page<'p> {
    pub(crate) report: &'p Report,
    pub(crate) loaded: &'p Loaded,
    pub(crate) plan: &'p Plan,
    pub(crate) measured: &'p [Measured],
    /// The command line's values.
    pub(crate) config: &'p Value,
}
