//! The gated delta rule, forward: sequences and key heads side by side, each from chunk to chunk.
use super::inputs::Inputs;
use super::keys::Keys;
use super::shape::{CHUNK, Shape};
use super::values::Values;
use crate::layout::{Layout, Segment};
use crate::memory::grow;
use crate::shared::SharedMut;
use rayon::prelude::*;
use std::cell::RefCell;

/// What a thread holds.
#[derive(Debug, Default)]
struct Scratch {
    keys: Keys,
    values: Values,
    states: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// o (T, value heads · width) of each segment. `states` (segments, value heads, key width, value width) are what was read
/// before each, and become what was read behind it; without them each segment is a whole sequence.
///
/// # Panics
/// If rows lie outside the slices, or a segment continues a sequence and there are no states.
pub fn forward(
    shape: Shape,
    layout: &Layout,
    inputs: Inputs<'_>,
    o: &mut [f32],
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
    let o = SharedMut::new(o);
    let states = SharedMut::new(states.unwrap_or_default());
    let group = shape.group() * shape.state();
    (0..segments.len() * shape.key_heads)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|job| {
            let segment = &segments[job / shape.key_heads];
            let head = job % shape.key_heads;
            SCRATCH.with_borrow_mut(|scratch| {
                grow(&mut scratch.states, group);
                let states = match has_states {
                    // SAFETY: the states of this key head's value heads in this segment are this task's alone.
                    true => unsafe { states.part(job, job * group, group) },
                    false => {
                        scratch.states[..group].fill(0.0);
                        &mut scratch.states[..group]
                    }
                };
                let (keys, values) = (&mut scratch.keys, &mut scratch.values);
                for chunk in chunks(segment) {
                    keys.read(shape, head, inputs.mixed, chunk.0, chunk.1);
                    let places = states.chunks_exact_mut(shape.state());
                    for (place, state) in places.enumerate() {
                        let own = head * shape.group() + place;
                        values.read(shape, own, inputs, chunk.0, keys, state);
                        values.output(shape, keys, state);
                        let n = shape.value_dim;
                        for (i, row) in values.o.chunks_exact(n).take(chunk.1).enumerate() {
                            let at = (chunk.0 + i) * shape.values() + own * n;
                            // SAFETY: this head's values in the rows of this segment are this task's alone: `Layout`
                            // gives each row of queries to one segment.
                            unsafe { o.part(job, at, n) }.copy_from_slice(row);
                        }
                        values.advance(shape, keys, state);
                    }
                }
            });
        });
}

/// First row and tokens of each chunk of a segment.
pub(crate) fn chunks(segment: &Segment) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    let (start, all) = (segment.query_start, segment.queries);
    (0..all.div_ceil(CHUNK)).map(move |i| (start + i * CHUNK, CHUNK.min(all - i * CHUNK)))
}
