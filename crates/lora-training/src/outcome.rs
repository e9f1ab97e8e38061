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
    /// What a profile is of.
    pub profiled: Profiled,
}

/// Steps whose time is in a profile: those of this process behind its first one, which also takes memory and warms up; a
/// single step is all there is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Profiled {
    /// Steps.
    pub steps: u64,
    /// Seconds that they took.
    pub seconds: f64,
}
