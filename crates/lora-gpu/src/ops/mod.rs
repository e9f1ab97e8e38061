//! The operations, methods of [`Gpu`] that check their sizes and queue kernels. Types of values are checked as sizes are.
//!
//! "Activations" are values of [`Gpu::dtype`]. Rows may lie apart. Nothing is queued where there is nothing to do.
mod apart;
mod attend;
mod attention;
mod blocks;
mod chunks;
mod conv;
mod delta;
mod dora;
mod dropout;
mod elementwise;
mod embed;
mod experts;
mod gated;
mod gated_norm;
mod layer_inputs;
mod layer_norm;
mod loss;
mod norm;
mod optim;
mod plain;
mod rotary;
mod rows;
mod spans;
mod ssd;
mod tables;
mod tiles;

pub use apart::Apart;
pub use attend::{Attended, Attention, attends};
pub use attention::Scores;
pub use blocks::Widen;
pub use chunks::{ChunkSteps, Chunks, chunks_of};
pub use conv::Taps;
pub use delta::{DeltaGradients, DeltaInputs, DeltaShape, delta_bytes};
pub use dora::DoraFactors;
pub use dropout::Mask;
pub use experts::Slots;
pub use gated::{Activation, Clamped};
pub use gated_norm::GatedNorm;
pub use layer_inputs::TableRows;
pub use layer_norm::Affine;
pub use loss::RowLosses;
pub use optim::AdamStep;
pub use plain::Plain;
pub use rotary::{Pairs, Rotary};
pub use spans::Spans;
pub use ssd::{SsdGradients, SsdInputs, SsdLearned, SsdShape, ssd_bytes};
pub use tiles::{AttentionTiles, Keys, Segment};

use crate::device::{Arg, Grid};
use crate::kernels::NAMES;
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// Threads of a block where any number will do.
const THREADS: usize = 256;

/// Blocks in x of elementwise kernels at most: threads go on with the columns behind.
const MOST_BLOCKS: usize = 1 << 14;

/// Blocks in y at most.
const MOST_ROWS: usize = 65_535;

/// Arguments of a kernel in the order of its parameters.
struct Args(Vec<Arg>);

impl Args {
    fn new() -> Self {
        Self(Vec::with_capacity(12))
    }
    /// The address of a tensor's value `first`.
    fn tensor(mut self, tensor: &Tensor, first: usize) -> Self {
        let offset = (first * tensor.dtype().bytes()) as u64;
        self.0.push(Arg::Address(tensor.address() + offset));
        self
    }
    /// An address that may be missing.
    fn null(mut self) -> Self {
        self.0.push(Arg::Address(0));
        self
    }
    /// The address of a tensor that may be missing.
    fn maybe(self, tensor: Option<&Tensor>) -> Self {
        match tensor {
            Some(tensor) => self.tensor(tensor, 0),
            None => self.null(),
        }
    }
    /// A matrix's address and stride.
    fn mat(self, mat: Mat<'_>) -> Self {
        self.first(mat).long(mat.stride())
    }
    /// A matrix's address.
    fn first(mut self, mat: Mat<'_>) -> Self {
        self.0.push(Arg::Address(mat.address()));
        self
    }
    fn long(mut self, value: usize) -> Self {
        self.0.push(Arg::Long(value as u64));
        self
    }
    fn int(mut self, value: usize) -> Self {
        assert!(i32::try_from(value).is_ok(), "{value} is no size of a row");
        self.0.push(Arg::Int(value as i32));
        self
    }
    fn float(mut self, value: f32) -> Self {
        self.0.push(Arg::Float(value));
        self
    }
}

/// Threads for one block that works on a row of `columns`, four at a time.
fn threads(columns: usize, most: usize) -> u32 {
    (columns.div_ceil(4).next_multiple_of(32)).clamp(32, most) as u32
}

/// A block for each of `rows` · `groups`, which works on `columns` values.
fn block_a_row(rows: usize, groups: usize, columns: usize, most: usize) -> Grid {
    assert!(
        i32::try_from(rows).is_ok() && groups <= MOST_ROWS,
        "{rows} rows in {groups} groups"
    );
    Grid {
        blocks: [rows as u32, groups as u32, 1],
        threads: threads(columns, most),
    }
}

/// Threads that share out a matrix's values among themselves, four to each or one.
fn over_values(rows: usize, columns: usize) -> Grid {
    let threads = threads(columns, THREADS);
    let blocks = columns.div_ceil(4 * threads as usize).clamp(1, MOST_BLOCKS);
    Grid {
        blocks: [blocks as u32, rows.min(MOST_ROWS) as u32, 1],
        threads,
    }
}

/// Blocks of 32 columns, which 32 warps sum.
fn over_columns(columns: usize) -> Grid {
    assert!(i32::try_from(columns).is_ok(), "{columns} columns");
    Grid {
        blocks: [columns.div_ceil(32) as u32, 1, 1],
        threads: 1024,
    }
}

/// Rows and columns of matrices of one shape for an operation that asks for no position: one row if all are dense.
fn flat(mats: &[Mat<'_>]) -> (usize, usize) {
    let (rows, columns) = (mats[0].rows(), mats[0].columns());
    if mats.iter().all(|mat| mat.is_dense()) {
        (1, rows * columns)
    } else {
        (rows, columns)
    }
}

/// # Panics
/// If the matrices are not of one shape.
fn check_shapes(what: &str, mats: &[Mat<'_>]) {
    let shape = |mat: &Mat<'_>| (mat.rows(), mat.columns());
    assert!(
        mats.iter().all(|mat| shape(mat) == shape(&mats[0])),
        "{what} of shapes {:?}",
        mats.iter().map(shape).collect::<Vec<_>>()
    );
}

/// # Panics
/// If it holds fewer values, or others.
fn check_tensor(what: &str, tensor: &Tensor, dtype: Dtype, len: usize) {
    assert!(
        tensor.dtype() == dtype && tensor.len() >= len,
        "{what}: {len} of {dtype:?} are asked of {} of {:?}",
        tensor.len(),
        tensor.dtype()
    );
}

/// # Panics
/// If it is of another shape or type.
fn check_mat(what: &str, mat: Mat<'_>, dtype: Dtype, rows: usize, columns: usize) {
    assert!(
        mat.dtype() == dtype && (mat.rows(), mat.columns()) == (rows, columns),
        "{what}: ({rows}, {columns}) of {dtype:?} is asked of ({}, {}) of {:?}",
        mat.rows(),
        mat.columns(),
        mat.dtype()
    );
}

impl Gpu {
    fn launch(&self, kernel: &'static str, grid: Grid, args: &Args) -> Result<(), Error> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        self.device.launch(kernel, grid, &args.0)
    }

    /// The kernel `name` for operands of these types.
    ///
    /// # Panics
    /// If one is neither f32 nor activations.
    fn typed(&self, name: &str, operands: &[Mat<'_>]) -> &'static str {
        let letter = |mat: &Mat<'_>| match mat.dtype() {
            Dtype::F32 => Some('f'),
            dtype => (dtype == self.dtype()).then_some('a'),
        };
        let suffix: Option<String> = operands.iter().map(letter).collect();
        let found = suffix.and_then(|suffix| {
            NAMES.iter().find(|kernel| {
                kernel
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('_'))
                    == Some(&suffix)
            })
        });
        let Some(kernel) = found else {
            let types: Vec<_> = operands.iter().map(|mat| mat.dtype()).collect();
            panic!("{name} of {types:?}");
        };
        kernel
    }
}
