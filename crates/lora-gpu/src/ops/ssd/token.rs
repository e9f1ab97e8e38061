//! The rule where each text goes on by one token: one kernel, from the state that the text has left to the next one.
use super::SsdInputs;
use crate::device::Grid;
use crate::ops::Args;
use crate::{Error, Gpu, Mat, Tensor};

/// Columns of a state that a block takes.
const COLUMNS: usize = 32;

impl Gpu {
    /// y of one token of each text, and the states behind it.
    pub(super) fn ssd_token(
        &self,
        inputs: SsdInputs<'_>,
        states: &Tensor,
        y: Mat<'_>,
    ) -> Result<(), Error> {
        let SsdInputs {
            shape,
            chunks,
            learned,
            ..
        } = inputs;
        chunks.check_texts(states, shape.states());
        let args = Args::new().mat(inputs.mixed).mat(inputs.dt);
        let args = args
            .tensor(learned.a_log, 0)
            .tensor(learned.dt_bias, 0)
            .tensor(learned.skip, 0);
        let args = args.float(learned.limits[0]).float(learned.limits[1]);
        let args = args.tensor(&chunks.of_chunks, 0);
        let args = args.tensor(&chunks.of_segments, 0).tensor(states, 0).mat(y);
        let args = args.int(shape.heads).int(shape.groups);
        let args = args.int(shape.width).int(shape.state);
        let columns = shape.values().div_ceil(COLUMNS);
        let grid = Grid {
            blocks: [chunks.count as u32, columns as u32, 1],
            threads: 256,
        };
        self.launch("ssd_token", grid, &args)
    }
}
