//! A layer of a short convolution: of the normalised hidden state three sides, b, c and x, of which c∘conv(b∘x) is made. The
//! sides are kept, all else is made again.
use super::buffers::Saved;
use super::cache::LayerCache;
use super::pass::LayerPass;
use super::scratch::Scratch;
use crate::spec::Projection::{ConvIn, ConvOut};
use lora_kernels::conv::{Behind, Taps};
use lora_kernels::profile::Part;
use lora_kernels::short_conv;

impl<'p> LayerPass<'p, '_> {
    /// What such a layer has beside its linear layers; nothing in other layers.
    fn taps(self) -> Option<Taps<'p>> {
        Some(Taps {
            values: self.layer.short_conv.as_ref()?,
            bias: None,
            columns: self.out_features(ConvOut),
            behind: Behind::Nothing,
        })
    }
}

/// What the output projection reads, of `scratch.normed`, in `scratch.gated`.
pub(super) fn mix(
    at: LayerPass<'_, '_>,
    saved: &mut Saved,
    cache: Option<&mut LayerCache>,
    scratch: &mut Scratch,
) {
    let Some(taps) = at.taps() else { return };
    let outputs = &mut [(ConvIn, saved.qkv.get(at.size(ConvIn)))];
    let normed = scratch.normed.read(at.input_size(ConvIn));
    let (stacked, project) = (&mut scratch.stacked, &mut scratch.project);
    at.fan_out(normed, outputs, &mut saved.u, stacked, project);
    let Some(cache) = cache else {
        return mixed_again(at, saved, scratch);
    };
    let size = at.input_size(ConvOut);
    let sides = saved.qkv.read(3 * size);
    let to = [scratch.mixed.get(size), scratch.gated.get(size)];
    let layout = &at.pass.batch.layout;
    at.pass.profile.time(Part::AttentionForward, 0, || {
        let tail = taps.values.len() - taps.columns;
        let mut states = cache.states(layout, [tail, 0]);
        short_conv::forward(taps, layout, sides, to, Some(&mut states[0]));
        cache.keep_states(layout, &states);
    });
}

/// The same of whole sequences, from the sides.
pub(super) fn mixed_again(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let Some(taps) = at.taps() else { return };
    let size = at.input_size(ConvOut);
    let sides = saved.qkv.read(3 * size);
    let to = [scratch.mixed.get(size), scratch.gated.get(size)];
    let layout = &at.pass.batch.layout;
    at.pass.profile.time(Part::AttentionForward, 0, || {
        short_conv::forward(taps, layout, sides, to, None);
    });
}

/// From `scratch.d_o`, the gradient of what the output projection has read, to that of the sides, in `scratch.d_qkv`.
pub(super) fn mix_backward(at: LayerPass<'_, '_>, saved: &Saved, scratch: &mut Scratch) {
    let Some(taps) = at.taps() else { return };
    let size = at.input_size(ConvOut);
    let sides = saved.qkv.read(3 * size);
    let dy = scratch.d_o.read(size);
    let own = [
        scratch.mixed.get(size),
        scratch.d_mixed.get(size),
        scratch.gated.get(size), // what it held is done with
    ];
    let d_sides = scratch.d_qkv.get(3 * size);
    let layout = &at.pass.batch.layout;
    at.pass.profile.time(Part::AttentionBackward, 0, || {
        short_conv::backward(taps, layout, sides, dy, own, d_sides);
    });
}
