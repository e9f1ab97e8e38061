//! What was measured of one model, before it is summed up.
use crate::generation::Answer;
use lora_model::SequenceLoss;

/// What was measured of one model, row by row.
#[derive(Debug)]
pub(crate) struct Measured {
    /// See `ModelReport::name`.
    pub(crate) name: String,
    /// A loss a row.
    pub(crate) losses: Vec<SequenceLoss>,
    /// An answer a row, for the rows that the plan generates.
    pub(crate) answers: Vec<Answer>,
}
