//! Attention of one layer on the device: by the device's own kernels, which keep no scores, or by scores.
use super::group::Linear;
use super::kinds::Kind;
use super::pass::LayerPass;
use super::saved::Saved;
use crate::spec::Projection;
use lora_gpu::{Apart, Attended, Attention, Error, Mat, Tensor};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    /// Those of the forward pass, as attention takes them.
    pub(super) fn saved_qkv(self, saved: &Saved) -> &Tensor {
        let apart = saved.heads.as_ref().filter(|_| self.has_gate());
        apart.unwrap_or(&saved.qkv)
    }

    /// Whether attention's output has a gate, whose rows stand among those of queries.
    pub(super) fn has_gate(self) -> bool {
        let linears = &self.group(Kind::Qkv).linears;
        let is_gate = |linear: &Linear| linear.projection == Projection::QGate;
        linears.iter().any(is_gate)
    }

    /// Of what the linear layers give queries and, behind those of each head, the gate of its output.
    fn with_gates<'t>(self, tensor: &'t Tensor) -> [Apart<'t>; 2] {
        let (width, all) = (self.own_heads().width, self.mixed(tensor));
        let end = 2 * self.queries();
        let of = |columns| Apart {
            mat: all.of_columns(columns),
            width,
            apart: 2 * width,
        };
        [of(0..end - width), of(width..end)]
    }

    /// Keys and values among what the linear layers give, where queries have gates.
    fn behind_gates<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        let all = self.mixed(tensor);
        all.of_columns(2 * self.queries()..all.columns())
    }

    /// Queries, keys and values to where attention takes them, if their rows hold gates, too.
    pub(super) fn take_heads(self, saved: &Saved) -> Result<(), Error> {
        if !self.has_gate() {
            return Ok(());
        }
        let gpu = self.pass.gpu;
        let tensor = self.saved_qkv(saved);
        let [queries, _] = self.with_gates(&saved.qkv);
        gpu.take_heads(queries, self.qkv(tensor).of_columns(0..self.queries()))?;
        gpu.convert(self.behind_gates(&saved.qkv), 1.0, self.own_kv(tensor))
    }

    /// What the device's own kernels take, if they compute this pass.
    fn attention_of<'t>(self, saved: &'t Saved) -> Option<(Attention<'t>, &'t Tensor)>
    where
        'p: 't,
    {
        let own = self.own_heads();
        let tiles = self.pass.attention.as_ref();
        let tiles = tiles.filter(|_| self.pass.gpu.attends(own.width))?;
        let log_sums = saved.log_sums.as_ref()?;
        let shape = self.pass.scores(self.index);
        let attention = Attention {
            qkv: self.qkv(self.saved_qkv(saved)),
            heads: shape.heads,
            kv_heads: own.kv,
            head_dim: own.width,
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
        self.take_heads(saved)?;
        self.turn_heads(saved)?;
        self.share_keys(saved)?;
        let to = self.plain(Kind::Output, saved.input(Kind::Output));
        let Some(attended) = self.attended(saved) else {
            return self.attend_to(saved, to);
        };
        self.attend_to(saved, attended)?;
        let [_, gates] = self.with_gates(&saved.qkv);
        self.pass.gpu.open(attended, gates, to)
    }

    /// Attention's output before its gate, (T, q), if it has one.
    fn attended<'t>(self, saved: &'t Saved) -> Option<Mat<'t>> {
        let attended = saved.attended.as_ref().filter(|_| self.has_gate())?;
        Some(attended.mat(self.pass.rows, self.queries()))
    }

    fn attend_to(self, saved: &Saved, to: Mat<'_>) -> Result<(), Error> {
        let Some(cache) = &self.pass.cache else {
            let run = || self.attention(saved, to);
            return self.pass.timed(Part::AttentionForward, 0, run);
        };
        let own = self.own_kv(self.saved_qkv(saved));
        let source = self.pass.config.keys_of(self.index);
        let kept = &cache.layers[source.unwrap_or(self.index)];
        let kept = kept.mat(cache.rows, own.columns());
        if source.is_none() {
            self.pass.gpu.put(own, &cache.places, 0, kept)?;
        }
        self.cached_attention(saved, kept, to)
    }

    /// From the gradient of what the output projection has read, which is overwritten, those of q, k and v as projected, in the
    /// scratch; adds to those of what trains of the norms of heads.
    pub(super) fn attend_backward(
        self,
        saved: &Saved,
        d_o: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let Some(attended) = self.attended(saved) else {
            let o = self.plain(Kind::Output, saved.input(Kind::Output));
            let to = &self.scratch.d_outputs;
            return self.heads_gradients(saved, (o, d_o), to, gradients);
        };
        let gpu = self.pass.gpu;
        let [_, gates] = self.with_gates(&saved.qkv);
        let [d_queries, d_gates] = self.with_gates(&self.scratch.d_outputs);
        gpu.open_backward(attended, gates, d_o, d_gates.mat)?;
        let d_qkv = &self.scratch.d_apart;
        self.heads_gradients(saved, (attended, d_o), d_qkv, gradients)?;
        let of_queries = self.qkv(d_qkv).of_columns(0..self.queries());
        gpu.give_heads(of_queries, d_queries)?;
        let to = self.behind_gates(&self.scratch.d_outputs);
        gpu.convert(self.own_kv(d_qkv), 1.0, to)
    }

    /// From attention's output and its gradient those of q, k and v before norms and rotary embedding.
    fn heads_gradients(
        self,
        saved: &Saved,
        outputs: (Mat<'_>, Mat<'_>),
        d_qkv: &Tensor,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        self.pass.timed(Part::AttentionBackward, 0, || {
            self.attention_backward(saved, outputs, d_qkv)
        })?;
        self.join_key_gradients(self.own_kv(d_qkv))?;
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
