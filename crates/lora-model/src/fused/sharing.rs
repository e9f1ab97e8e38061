//! Keys and values that layers read of an earlier one: they stay where they are until its backward pass, which takes the sum of
//! their gradients.
use super::pass::{LayerPass, add};
use super::scratch::{Scratch, Shared};

/// Keeps a layer's keys and values, if others read them.
pub(super) fn keep(at: LayerPass<'_, '_>, (k, v): (&[f32], &[f32]), shared: &mut Shared) {
    if at.layer.shares_keys {
        let own = shared.entry(at.index).or_default();
        own.k.set(k);
        own.v.set(v);
    }
}

/// The keys and values that a layer's queries meet, without a cache: its own, or another's.
pub(super) fn keys_and_values<'s>(
    at: LayerPass<'_, '_>,
    own: (&'s [f32], &'s [f32]),
    size: usize,
    shared: &'s Shared,
) -> (&'s [f32], &'s [f32]) {
    match at.layer.keys_of.and_then(|source| shared.get(&source)) {
        Some(of) => (of.k.read(size), of.v.read(size)),
        None => own,
    }
}

/// Gradients of keys and values in `scratch.d_k` and `d_v`: those of another layer's join its others; to those of a layer that
/// others read, theirs are added.
pub(super) fn join(at: LayerPass<'_, '_>, size: usize, scratch: &mut Scratch) {
    let Scratch {
        d_k, d_v, shared, ..
    } = scratch;
    let (d_k, d_v) = (d_k.get(size), d_v.get(size));
    if let Some(source) = at.layer.keys_of {
        let own = shared.entry(source).or_default();
        // The highest of them comes first.
        let mut above = at.index + 1..at.pass.config.num_hidden_layers;
        match above.any(|layer| at.pass.config.keys_of(layer) == Some(source)) {
            false => {
                own.d_k.set(d_k);
                own.d_v.set(d_v);
            }
            true => {
                add(own.d_k.get(size), d_k);
                add(own.d_v.get(size), d_v);
            }
        }
    } else if at.layer.shares_keys
        && let Some(own) = shared.get(&at.index)
    {
        add(d_k, own.d_k.read(size));
        add(d_v, own.d_v.read(size));
    }
}
