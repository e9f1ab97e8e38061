//! The gated delta rule, backward: the states before the chunks are made again, then chunk after chunk from the last one
//! (`chunk`).
use super::chunk::{self, Chunk, Room, Shared};
use super::inputs::Inputs;
use super::keys::{self, Keys, l2_backward};
use super::rule::chunks;
use super::shape::{CHUNK, Shape};
use super::values::{self, Values};
use crate::layout::Layout;
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::cell::RefCell;

/// Where the gradients go; all of them are replaced.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// (T, [`Shape::columns`]).
    pub mixed: &'a mut [f32],
    /// (T, value heads).
    pub a: &'a mut [f32],
    /// (T, value heads).
    pub b: &'a mut [f32],
}

/// Values that a thread holds for the backward pass of sequences of at most so many tokens.
#[must_use]
pub fn scratch_len(shape: Shape, longest: usize) -> usize {
    let states = longest.div_ceil(CHUNK) * shape.group() * shape.state();
    states + keys::len(shape) + values::len(shape) + chunk::len(shape)
}

#[derive(Debug, Default)]
struct Scratch {
    keys: Keys,
    values: Values,
    states: Vec<f32>,
    room: Room,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The gradients of what [`super::forward`] read, from d_o (T, value heads · width).
///
/// # Panics
/// If rows lie outside the slices, or a segment continues a sequence.
pub fn backward(shape: Shape, layout: &Layout, inputs: Inputs<'_>, d_o: &[f32], to: Gradients<'_>) {
    shape.check();
    let segments = layout.segments();
    assert!(
        segments.iter().all(|segment| segment.past == 0),
        "a sequence goes on without the state that it has left"
    );
    let mixed = SharedMut::new(to.mixed);
    let (a, b) = (SharedMut::new(to.a), SharedMut::new(to.b));
    (0..segments.len() * shape.key_heads)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|job| {
            let to = Shared {
                job,
                mixed: &mixed,
                a: &a,
                b: &b,
            };
            let all: Vec<_> = chunks(&segments[job / shape.key_heads]).collect();
            let head = job % shape.key_heads;
            SCRATCH.with_borrow_mut(|scratch| {
                states(shape, head, &all, inputs, scratch);
                differentiate(shape, head, &all, inputs, d_o, &to, scratch);
            });
        });
}

/// The states of a key head's value heads before each chunk, in `scratch.states`.
fn states(
    shape: Shape,
    head: usize,
    chunks: &[(usize, usize)],
    inputs: Inputs<'_>,
    scratch: &mut Scratch,
) {
    let Scratch {
        keys,
        values,
        states,
        ..
    } = scratch;
    let group = shape.group() * shape.state();
    grow(states, chunks.len() * group);
    states[..group].fill(0.0);
    for (index, &(first, tokens)) in chunks.iter().enumerate() {
        if index + 1 == chunks.len() {
            break;
        }
        keys.read(shape, head, inputs.mixed, first, tokens);
        let (before, behind) = states[index * group..].split_at_mut(group);
        behind[..group].copy_from_slice(before);
        for (place, state) in behind[..group].chunks_exact_mut(shape.state()).enumerate() {
            let own = head * shape.group() + place;
            values.read(shape, own, inputs, first, keys, state);
            values.advance(shape, keys, state);
        }
    }
}

fn differentiate(
    shape: Shape,
    head: usize,
    chunks: &[(usize, usize)],
    inputs: Inputs<'_>,
    d_o: &[f32],
    to: &Shared<'_>,
    scratch: &mut Scratch,
) {
    let Scratch {
        keys,
        values,
        states,
        room,
    } = scratch;
    let (d, group) = (shape.key_dim, shape.group() * shape.state());
    grow(&mut room.d_state, group);
    room.d_state[..group].fill(0.0);
    for (index, &(first, tokens)) in chunks.iter().enumerate().rev() {
        keys.read(shape, head, inputs.mixed, first, tokens);
        for sums in [&mut room.dq, &mut room.dk] {
            grow(sums, tokens * d);
            sums[..tokens * d].fill(0.0);
        }
        for place in 0..shape.group() {
            let own = head * shape.group() + place;
            let state = &states[index * group + place * shape.state()..][..shape.state()];
            values.read(shape, own, inputs, first, keys, state);
            let chunk = Chunk {
                shape,
                head: own,
                place,
                first,
                inputs,
                state,
                keys,
            };
            chunk.differentiate(values, d_o, to, room);
        }
        write_keys(shape, head, first, keys, to, room);
    }
}

/// Through the norms of queries and keys.
fn write_keys(
    shape: Shape,
    head: usize,
    first: usize,
    keys: &Keys,
    to: &Shared<'_>,
    room: &mut Room,
) {
    let d = shape.key_dim;
    grow(&mut room.dx, d);
    let dx = &mut room.dx[..d];
    for i in 0..keys.tokens {
        let (rows, row) = (i * d..(i + 1) * d, (first + i) * shape.columns());
        let (q, dq) = (&keys.q[rows.clone()], &room.dq[rows.clone()]);
        l2_backward(q, shape.query_scale(), keys.q_inverse[i], dq, dx);
        // SAFETY: this head's queries and keys in the rows of this segment are this task's alone: `Layout` gives each row
        // of queries to one segment.
        unsafe { to.mixed.part(to.job, row + shape.query(head), d) }.copy_from_slice(dx);
        let (k, dk) = (&keys.k[rows.clone()], &room.dk[rows]);
        l2_backward(k, 1.0, keys.k_inverse[i], dk, dx);
        // SAFETY: as above.
        unsafe { to.mixed.part(to.job, row + shape.key(head), d) }.copy_from_slice(dx);
    }
}
