//! What a run is given, and what it leaves.
use crate::state::State;

/// The rows that train and those held out.
#[derive(Debug)]
pub struct Data<'d, R> {
    /// At least one.
    pub train: &'d [R],
    /// Rows to measure the loss on; the best parameters are kept by them.
    pub valid: Option<&'d [R]>,
}

impl<R> Clone for Data<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Data<'_, R> {}

/// What a finished run leaves behind, beside the model with its last parameters.
#[derive(Debug)]
pub struct Outcome {
    /// Its figures.
    pub state: State,
    /// Parameters of the best evaluation; none without held-out rows.
    pub best: Option<Vec<f32>>,
    /// Steps that were planned.
    pub total_steps: u64,
}
