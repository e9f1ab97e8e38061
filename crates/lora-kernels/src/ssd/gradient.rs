//! The state space rule, backward: the states before the chunks are made again, then chunk after chunk from the last one
//! (`chunk`). Each block of heads has its own gradients of B and C, which are summed in the blocks' order.
use super::chunk::{self, Chunk, Room, Shared};
use super::head::{self, Head};
use super::inputs::Inputs;
use super::rule;
use super::shape::{Block, Shape};
use super::sides::{self, Sides};
use crate::delta::{CHUNK, chunks};
use crate::layout::Layout;
use crate::memory::grow;
use crate::shared::SharedMut;
use crate::vector::add;
use rayon::prelude::*;
use std::cell::RefCell;

/// Where the gradients go; all of them are replaced.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// (T, [`Shape::columns`]).
    pub mixed: &'a mut [f32],
    /// (T, heads).
    pub dt: &'a mut [f32],
}

/// Values that a thread holds for both passes of sequences of at most so many tokens.
#[must_use]
pub fn scratch_len(shape: Shape, longest: usize) -> usize {
    let states = longest.div_ceil(CHUNK) * shape.block_heads() * shape.state_len();
    states + sides::len(shape) + head::len(shape) + chunk::len(shape) + rule::scratch_len(shape)
}

/// Values a token that [`backward`] works with: each block's gradients of B and C.
#[must_use]
pub fn shared_len(shape: Shape) -> usize {
    2 * shape.blocks() * shape.state
}

#[derive(Debug, Default)]
struct Scratch {
    sides: Sides,
    head: Head,
    states: Vec<f32>,
    room: Room,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The gradients of what [`super::forward`] read, from dy (T, heads · width). `shared` (T, [`shared_len`]) is overwritten.
///
/// # Panics
/// If rows lie outside the slices, or a segment continues a sequence.
pub fn backward(
    shape: Shape,
    layout: &Layout,
    inputs: Inputs<'_>,
    dy: &[f32],
    shared: &mut [f32],
    to: Gradients<'_>,
) {
    shape.check();
    let segments = layout.segments();
    assert!(
        segments.iter().all(|segment| segment.past == 0),
        "a sequence goes on without the state that it has left"
    );
    let blocks = shape.blocks();
    {
        let mixed = SharedMut::new(to.mixed);
        let (dt, sides) = (SharedMut::new(to.dt), SharedMut::new(shared));
        (0..segments.len() * blocks)
            .into_par_iter()
            .with_max_len(1)
            .for_each(|job| {
                let to = Shared {
                    job,
                    mixed: &mixed,
                    dt: &dt,
                };
                let all: Vec<_> = chunks(&segments[job / blocks]).collect();
                let block = shape.block(job % blocks);
                SCRATCH.with_borrow_mut(|scratch| {
                    states(shape, block, &all, inputs, scratch);
                    differentiate(shape, block, &all, (inputs, dy), (&to, &sides), scratch);
                });
            });
    }
    for segment in segments {
        let rows = segment.query_start..segment.query_start + segment.queries;
        let (width, each) = (shape.columns(), shared_len(shape));
        to.mixed[rows.start * width..rows.end * width]
            .par_chunks_mut(width)
            .zip(shared[rows.start * each..rows.end * each].par_chunks(each))
            .with_min_len(CHUNK)
            .for_each(|(row, shared)| sum_blocks(shape, shared, row));
    }
}

/// The gradients of B and C of a token, of all blocks of their group.
fn sum_blocks(shape: Shape, shared: &[f32], row: &mut [f32]) {
    let n = shape.state;
    row[shape.values()..].fill(0.0);
    for (index, own) in shared.chunks_exact(2 * n).enumerate() {
        let group = shape.block(index).group;
        add(&mut row[shape.keys(group)..][..n], &own[..n]);
        add(&mut row[shape.queries(group)..][..n], &own[n..]);
    }
}

/// The states of a block's heads before each chunk, in `scratch.states`.
fn states(
    shape: Shape,
    block: Block,
    chunks: &[(usize, usize)],
    inputs: Inputs<'_>,
    scratch: &mut Scratch,
) {
    let Scratch {
        sides,
        head,
        states,
        ..
    } = scratch;
    let all = block.heads * shape.state_len();
    grow(states, chunks.len() * all);
    states[..all].fill(0.0);
    for (index, &chunk) in chunks.iter().enumerate() {
        if index + 1 == chunks.len() {
            break;
        }
        sides.read(shape, block.group, inputs.mixed, chunk);
        let (before, behind) = states[index * all..].split_at_mut(all);
        behind[..all].copy_from_slice(before);
        let each = behind[..all].chunks_exact_mut(shape.state_len());
        for (place, state) in each.enumerate() {
            head.read(shape, block.first + place, inputs, chunk.0, sides);
            head.advance(shape, sides, state);
        }
    }
}

fn differentiate(
    shape: Shape,
    block: Block,
    chunks: &[(usize, usize)],
    (inputs, dy): (Inputs<'_>, &[f32]),
    (to, shared): (&Shared<'_>, &SharedMut<'_>),
    scratch: &mut Scratch,
) {
    let Scratch {
        sides,
        head,
        states,
        room,
    } = scratch;
    let (n, size) = (shape.state, shape.state_len());
    let all = block.heads * size;
    grow(&mut room.d_state, all);
    room.d_state[..all].fill(0.0);
    for (index, &(first, tokens)) in chunks.iter().enumerate().rev() {
        sides.read(shape, block.group, inputs.mixed, (first, tokens));
        for sums in [&mut room.db, &mut room.dc] {
            grow(sums, tokens * n);
            sums[..tokens * n].fill(0.0);
        }
        for place in 0..block.heads {
            head.read(shape, block.first + place, inputs, first, sides);
            let chunk = Chunk {
                shape,
                head: block.first + place,
                place,
                first,
                inputs,
                state: &states[index * all + place * size..][..size],
                sides,
            };
            chunk.differentiate(head, dy, to, room);
        }
        for i in 0..tokens {
            let at = (first + i) * shared_len(shape) + block.index * 2 * n;
            // SAFETY: this block's place in the rows of this segment is this task's alone: `Layout` gives each row of
            // queries to one segment.
            let own = unsafe { shared.part(to.job, at, 2 * n) };
            own[..n].copy_from_slice(&room.db[i * n..(i + 1) * n]);
            own[n..].copy_from_slice(&room.dc[i * n..(i + 1) * n]);
        }
    }
}
