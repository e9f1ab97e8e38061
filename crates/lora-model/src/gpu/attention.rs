//! Attention of one layer on the device: by the device's own kernels, which keep no scores, or by scores.
use super::group::Kind;
use super::pass::LayerPass;
use super::scratch::Saved;
use lora_gpu::{Attended, Attention, Error, Mat, Tensor};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    /// Queries, keys and values side by side, or their gradients, (T, q + 2·kv).
    pub(super) fn qkv<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        let all = self.mixed(tensor);
        all.of_columns(0..self.queries() + 2 * self.keys())
    }

    /// Values of the queries of a row.
    pub(super) fn queries(self) -> usize {
        self.pass.config.num_attention_heads * self.pass.config.head_dim
    }

    /// Values of the keys of a row.
    pub(super) fn keys(self) -> usize {
        self.pass.config.num_key_value_heads * self.pass.config.head_dim
    }

    /// The keys and values of the batch's own rows, (T, 2·kv).
    pub(super) fn own_kv<'t>(self, qkv: &'t Tensor) -> Mat<'t> {
        let all = self.qkv(qkv);
        all.of_columns(self.queries()..all.columns())
    }

    /// What the device's own kernels take, if they compute this pass.
    fn attention_of<'t>(self, saved: &'t Saved) -> Option<(Attention<'t>, &'t Tensor)>
    where
        'p: 't,
    {
        let tiles = self.pass.attention.as_ref()?;
        let log_sums = saved.log_sums.as_ref()?;
        let shape = self.pass.scores(self.index);
        let attention = Attention {
            qkv: self.qkv(&saved.qkv),
            heads: shape.heads,
            kv_heads: self.pass.config.num_key_value_heads,
            head_dim: self.pass.config.head_dim,
            window: shape.window,
            scale: shape.scale,
            softcap: shape.softcap,
            sinks: self.layer.sinks.as_ref(),
            tiles,
        };
        Some((attention, log_sums))
    }

    /// From q, k and v as projected to attention's output, which the output projection reads.
    pub(super) fn attend(self, saved: &Saved) -> Result<(), Error> {
        self.turn_heads(saved)?;
        let to = self.plain(Kind::Output, saved.input(Kind::Output));
        let Some(cache) = &self.pass.cache else {
            let run = || self.attention(saved, to);
            return self.pass.timed(Part::AttentionForward, 0, run);
        };
        let own = self.own_kv(&saved.qkv);
        let kept = cache.layers[self.index].mat(cache.rows, own.columns());
        self.pass.gpu.put(own, &cache.places, 0, kept)?;
        self.cached_attention(saved, kept, to)
    }

    /// From the gradient of attention's output those of q, k and v as projected, in the scratch; adds to those of what trains of
    /// the norms of heads.
    pub(super) fn attend_backward(
        self,
        saved: &Saved,
        d_o: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let o = saved.input(Kind::Output);
        let d_qkv = &self.scratch.d_outputs;
        self.pass.timed(Part::AttentionBackward, 0, || {
            let o = self.plain(Kind::Output, o);
            self.attention_backward(saved, (o, d_o), d_qkv)
        })?;
        self.heads_backward(saved, self.qkv(d_qkv), gradients)
    }

    /// Attention of the rotated q, k and v of the rows themselves: its output in o (T, q).
    fn attention(self, saved: &Saved, o: Mat<'_>) -> Result<(), Error> {
        match self.attention_of(saved) {
            Some((attention, log_sums)) => {
                self.pass.gpu.attend(attention, Attended { o, log_sums })
            }
            None => self.attention_by_scores(saved, o),
        }
    }

    /// From attention's output o (T, q) and its gradient, those of the rotated queries, keys and values, in `d_qkv`.
    fn attention_backward(
        self,
        saved: &Saved,
        (o, d_o): (Mat<'_>, Mat<'_>),
        d_qkv: &Tensor,
    ) -> Result<(), Error> {
        let Some((attention, log_sums)) = self.attention_of(saved) else {
            return self.attention_by_scores_backward(saved, d_o, d_qkv);
        };
        let d_kv = self.scratch.d_kv.mat(self.pass.rows, 2 * self.queries());
        let scratch = (&self.scratch.means, d_kv);
        let d_qkv = self.qkv(d_qkv);
        let attended = Attended { o, log_sums };
        let gpu = self.pass.gpu;
        gpu.attend_backward(attention, attended, d_o, d_qkv, scratch)
    }
}
