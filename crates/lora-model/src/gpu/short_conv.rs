//! A layer of a short convolution on the device: of the normalised hidden state three sides, b, c and x, of which c∘conv(b∘x) is
//! made. The sides are kept, all else is made again.
use super::kinds::Kind;
use super::pass::LayerPass;
use super::rule_layers::Convolution;
use super::saved::Saved;
use lora_gpu::{Error, Mat};

impl LayerPass<'_> {
    /// What the output projection reads, from the sides.
    pub(super) fn short_conv(self, own: &Convolution, saved: &Saved) -> Result<(), Error> {
        let (gpu, taps, spans) = (self.pass.gpu, own.taps(), self.spans());
        let to = self.plain(Kind::Output, saved.input(Kind::Output));
        let sides = self.mixed(&saved.qkv);
        let Some(kept) = self.kept() else {
            return gpu.short_conv(taps, sides, spans, None, to);
        };
        gpu.short_conv(taps, sides, spans, Some(&kept.tails), to)?;
        gpu.keep_short_tails(taps, sides, spans, &kept.tails)
    }

    /// From the gradient of what the output projection has read to that of the sides.
    pub(super) fn short_conv_backward(
        self,
        own: &Convolution,
        saved: &Saved,
        dy: Mat<'_>,
        d_sides: Mat<'_>,
    ) -> Result<(), Error> {
        let (gpu, taps, spans) = (self.pass.gpu, own.taps(), self.spans());
        gpu.short_conv_backward(taps, self.mixed(&saved.qkv), spans, dy, d_sides)
    }
}
