//! The state space rule, forward: sequences and blocks of heads side by side, each from chunk to chunk.
use super::head::Head;
use super::inputs::Inputs;
use super::shape::Shape;
use super::sides::Sides;
use crate::delta::chunks;
use crate::layout::{Layout, Segment};
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::cell::RefCell;

/// What a thread holds.
#[derive(Debug, Default)]
struct Scratch {
    sides: Sides,
    head: Head,
    states: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// y (T, heads · width) of each segment. `states` (segments, heads, state's width, width) are what was read before each, and
/// become what was read behind it; without them each segment is a whole sequence.
///
/// # Panics
/// If rows lie outside the slices, or a segment continues a sequence and there are no states.
pub fn forward(
    shape: Shape,
    layout: &Layout,
    inputs: Inputs<'_>,
    y: &mut [f32],
    states: Option<&mut [f32]>,
) {
    shape.check();
    let segments = layout.segments();
    let has_states = states.is_some();
    let begins = |segment: &Segment| segment.past == 0;
    assert!(
        has_states || segments.iter().all(begins),
        "a sequence goes on without the state that it has left"
    );
    let y = SharedMut::new(y);
    let states = SharedMut::new(states.unwrap_or_default());
    let (blocks, size) = (shape.blocks(), shape.state_len());
    (0..segments.len() * blocks)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|job| {
            let segment = &segments[job / blocks];
            let block = shape.block(job % blocks);
            SCRATCH.with_borrow_mut(|scratch| {
                let all = block.heads * size;
                grow(&mut scratch.states, all);
                let states = match has_states {
                    // SAFETY: the states of this block's heads in this segment are this task's alone.
                    true => unsafe {
                        let head = job / blocks * shape.heads + block.first;
                        states.part(job, head * size, all)
                    },
                    false => {
                        scratch.states[..all].fill(0.0);
                        &mut scratch.states[..all]
                    }
                };
                let (sides, head) = (&mut scratch.sides, &mut scratch.head);
                for chunk in chunks(segment) {
                    sides.read(shape, block.group, inputs.mixed, chunk);
                    for (place, state) in states.chunks_exact_mut(size).enumerate() {
                        let own = block.first + place;
                        head.read(shape, own, inputs, chunk.0, sides);
                        head.output(shape, inputs.learned.d[own], sides, state);
                        let width = shape.width;
                        for (i, row) in head.y.chunks_exact(width).take(chunk.1).enumerate() {
                            let at = (chunk.0 + i) * shape.values() + own * width;
                            // SAFETY: this head's values in the rows of this segment are this task's alone: `Layout`
                            // gives each row of queries to one segment.
                            unsafe { y.part(job, at, width) }.copy_from_slice(row);
                        }
                        head.advance(shape, sides, state);
                    }
                }
            });
        });
}

/// Values that a thread holds.
pub(super) fn scratch_len(shape: Shape) -> usize {
    super::sides::len(shape) + super::head::len(shape) + shape.block_heads() * shape.state_len()
}
