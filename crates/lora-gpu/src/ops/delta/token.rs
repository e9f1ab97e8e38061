//! The rule where each text goes on by one token: one kernel, from the state that the text has left to the next one.
use super::DeltaInputs;
use crate::device::Grid;
use crate::ops::Args;
use crate::{Error, Gpu, Mat, Tensor};

/// The widest key whose rows of a state a block's threads hold.
const WIDEST_KEY: usize = 256;
/// Columns of a state that a block takes.
const COLUMNS: usize = 32;

impl DeltaInputs<'_> {
    /// Whether all texts go on by one token, which needs no chunks.
    pub(super) fn are_tokens(&self) -> bool {
        self.chunks.are_tokens() && self.shape.key_dim <= WIDEST_KEY
    }
}

impl Gpu {
    /// o of one token of each text, and the states behind it.
    pub(super) fn delta_token(
        &self,
        inputs: DeltaInputs<'_>,
        states: &Tensor,
        o: Mat<'_>,
    ) -> Result<(), Error> {
        let DeltaInputs { shape, chunks, .. } = inputs;
        chunks.check_texts(states, shape.states());
        let args = Args::new().mat(inputs.mixed).mat(inputs.a).mat(inputs.b);
        let args = args.tensor(inputs.a_log, 0).tensor(inputs.dt_bias, 0);
        let args = args.tensor(chunks.of_chunks(), 0);
        let args = args.tensor(chunks.texts(), 0).tensor(states, 0).mat(o);
        let args = args.int(shape.key_heads).int(shape.value_heads);
        let args = args.int(shape.key_dim).int(shape.value_dim);
        let columns = shape.value_dim.div_ceil(COLUMNS);
        let grid = Grid {
            blocks: [
                chunks.count() as u32,
                shape.value_heads as u32,
                columns as u32,
            ],
            threads: 256,
        };
        self.launch("delta_token", grid, &args)
    }
}
