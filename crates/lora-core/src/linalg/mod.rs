//! Linear algebra in f64: decompositions of a low-rank product through its factors (`factors`), and of a whole weight for
//! PiSSA (`pissa`) and OLoRA (`olora`). The order of every sum is fixed, so that the bits are the same for any number of
//! threads.
mod eigen;
mod factors;
mod matrix;
mod olora;
mod pissa;

pub(crate) use factors::{product_norm, singular};
pub(crate) use matrix::Matrix;
pub(crate) use olora::olora;
pub(crate) use pissa::pissa;
