//! What was measured of one model, before it is summed up.
use crate::generation::Answer;
use crate::metrics::Sums;
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
    /// Under each measure.
    pub(crate) grades: Vec<Grades>,
    /// A loss a row with another row's prompt, where it was asked for; none for rows without a prompt.
    pub(crate) swapped: Vec<Option<SequenceLoss>>,
}

/// One model's rows under one measure.
#[derive(Debug)]
pub(crate) struct Grades {
    /// Sums of each row; none where the measure has nothing to say of it.
    pub(crate) rows: Vec<Option<Sums>>,
    /// The same answers against what other prompts expect; empty or none where nothing is told by it.
    pub(crate) chance: Vec<Option<Sums>>,
}

impl Grades {
    pub(crate) fn without_chance(rows: Vec<Option<Sums>>) -> Self {
        Self {
            rows,
            chance: Vec::new(),
        }
    }
}
