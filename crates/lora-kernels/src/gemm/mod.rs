//! Matrix products: the left operand is packed once and may serve several products, the right one is packed panel by panel
//! from wherever and however it is stored, so that a weight is widened straight into the form that the tile reads.
//!
//! Each output is one sum over the inner dimension, cut into blocks whose length depends on the shapes alone; threads split
//! the outputs. The result therefore depends on the instruction set, but never on the number of threads.
//!
//! From the instruction up: `simd` (a vector), `tile` (registers), `isa` (which of them this machine has), `transpose` and
//! `packing` (matrices become panels; `bf16`: stored ones of bfloat16; `prefetch`: they are asked for in time), `left` and `right` (operands), `split`, `product` and `running` (tasks); `direct`, `few` and
//! `outer` are products that do without packing one side.
mod bf16;
mod direct;
mod few;
mod isa;
mod left;
mod outer;
mod packing;
mod prefetch;
mod product;
mod right;
mod running;
mod simd;
mod split;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;
#[cfg(target_arch = "x86_64")]
mod transpose_avx2;

pub(crate) use direct::{Direct, Operand, Room, Size, View};
pub(crate) use few::{FEW, few_rows};
pub use isa::instruction_set;
pub(crate) use isa::padded_rows;
#[cfg(test)]
pub(crate) use isa::with_each;
pub(crate) use left::Left;
pub(crate) use outer::{Gradient, outer};
pub(crate) use packing::{Rows, transpose};
pub(crate) use product::Product;
pub(crate) use right::{MatRight, Plain, Right, Transposed};
pub use split::scratch_len;
