//! One decoder layer on the device, forward and backward. Reads top to bottom as the model does; what a family does not have
//! is skipped.
use super::group::Kind;
use super::norms::NormLayer;
use super::pass::LayerPass;
use super::scratch::Saved;
use super::unit::Unit;
use lora_checkpoint::{Block, HeadNorms};
use lora_gpu::{Error, Mat, Tensor, Write};
use lora_kernels::profile::Part;

impl<'p> LayerPass<'p> {
    fn eps(self) -> f32 {
        self.pass.config.norm_eps as f32
    }

    /// What the outputs of attention and MLP are multiplied by; no family has it and norms of the outputs.
    pub(super) fn residual_multiplier(self) -> f32 {
        self.pass.config.multipliers.residual as f32
    }

    /// A hidden state, (T, H).
    fn hidden<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, self.pass.config.hidden_size)
    }

    /// Values of the hidden state.
    fn hidden_len(self) -> usize {
        self.pass.rows * self.pass.config.hidden_size
    }

    /// What the MLP's unit reads.
    fn gate_up<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, Unit::inputs(self.pass.config))
    }

    /// Whether the MLP reads what attention reads.
    fn is_parallel(self) -> bool {
        self.pass.config.facts().block == Block::Parallel
    }

    /// x (T, H) becomes the layer's output; `saved` keeps what the backward pass needs.
    pub(super) fn run(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        gpu.copy(x, &saved.x, self.hidden_len())?;
        self.normed_qkv(x, saved)?;
        let [_, o, _, _] = &saved.inputs;
        let to = self.plain(Kind::Output, o);
        match &self.pass.cache {
            None => self
                .pass
                .timed(Part::AttentionForward, 0, || self.attention(saved, to))?,
            Some(cache) => {
                let own = self.own_kv(&saved.qkv);
                let kept = cache.layers[self.index].mat(cache.rows, own.columns());
                gpu.put(own, &cache.places, 0, kept)?;
                self.cached_attention(saved, kept, to)?;
            }
        }
        self.after_attention(x, saved)
    }

    /// Rotated queries and keys, and values.
    pub(super) fn normed_qkv(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let [n, ..] = &saved.inputs;
        let to = self.plain(Kind::Qkv, n);
        let norm = (&self.layer.input_norm, &saved.input_rstd);
        self.normed(self.hidden(x), norm, to)?;
        let qkv = saved
            .qkv
            .mat(self.pass.rows, self.queries() + 2 * self.keys());
        self.forward(Kind::Qkv, n, qkv)?; // (T, H) -> (T, q + 2·kv)
        if self.rotates_first() {
            self.rotate(qkv, false)?;
            return self.norm_heads(saved, qkv);
        }
        self.norm_heads(saved, qkv)?;
        self.rotate(qkv, false)
    }

    /// Whether heads are rotated before their norm.
    fn rotates_first(self) -> bool {
        self.pass.config.facts().head_norms == HeadNorms::EachRotatedHead
    }

    /// What attention or MLP reads of the hidden state: its norm, or where the family has none itself.
    fn normed(
        self,
        x: Mat<'_>,
        (norm, rstd): (&Option<NormLayer>, &Tensor),
        to: Mat<'_>,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        match norm {
            Some(norm) => norm.forward(gpu, x, self.eps(), to, rstd),
            None => gpu.convert(x, 1.0, to),
        }
    }

    /// dx += the gradient through what [`Self::normed`] did to x.
    fn normed_backward(
        self,
        x: &Tensor,
        (norm, rstd): (&Option<NormLayer>, &Tensor),
        dn: Mat<'_>,
        dx: Mat<'_>,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        match norm {
            Some(norm) => norm.backward(gpu, self.hidden(x), rstd, dn, dx, Write::Add),
            None => gpu.add(dn, dx),
        }
    }

    /// Queries and keys normalised head by head, where the family does so.
    fn norm_heads(self, saved: &Saved, qkv: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let (q, k) = (self.queries(), self.keys());
        let Some(raw) = &saved.raw else { return Ok(()) };
        let raw = raw.mat(self.pass.rows, q + k);
        gpu.convert(qkv.of_columns(0..q + k), 1.0, raw)?;
        let parts = [
            (0..q, &self.layer.query_norm, &saved.q_rstd),
            (q..q + k, &self.layer.key_norm, &saved.k_rstd),
        ];
        for (columns, gamma, rstd) in parts {
            let Some((gamma, rstd)) = gamma.as_ref().zip(rstd.as_ref()) else {
                continue;
            };
            let from = raw.of_columns(columns.clone());
            gpu.norm(from, gamma, self.eps(), qkv.of_columns(columns), rstd)?;
        }
        Ok(())
    }

    /// Rotates queries and keys in place, or turns their gradients back; nothing if the layer has no rotary embedding.
    fn rotate(self, qkv: Mat<'_>, back: bool) -> Result<(), Error> {
        let config = self.pass.config;
        let ropes = config.query_rope(self.index);
        let Some((of_queries, of_keys)) = ropes.zip(config.layers[self.index].rope) else {
            return Ok(());
        };
        let (q, k) = (self.queries(), self.keys());
        let turn = |columns, rope| {
            let rotary = self.pass.rotations.get(rope, config);
            self.pass.gpu.rotate(qkv.of_columns(columns), rotary, back)
        };
        if of_queries == of_keys {
            return turn(0..q + k, of_keys);
        }
        turn(0..q, of_queries)?;
        turn(q..q + k, of_keys)
    }

    /// From attention's output to the layer's.
    pub(super) fn after_attention(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let [_, o, n, activated] = &saved.inputs;
        let hidden = self.hidden(x);
        self.add_output(Kind::Output, o, hidden, saved)?; // (T, q) -> += (T, H)
        self.mlp_input(x, saved)?;
        let gate_up = self.gate_up(&saved.gate_up);
        self.forward(Kind::GateUp, n, gate_up)?; // (T, H) -> (T, 2·I), or (T, I) without a gate
        let to = self.plain(Kind::Down, activated);
        self.pass.timed(Part::Activation, 0, || {
            self.layer.unit.forward(gpu, gate_up, to)
        })?;
        self.add_output(Kind::Down, activated, hidden, saved) // (T, I) -> += (T, H)
    }

    /// What the MLP reads of the hidden state that attention was added to; beside attention what that has read.
    fn mlp_input(self, x: &Tensor, saved: &Saved) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let [read, _, n, _] = &saved.inputs;
        let to = self.plain(Kind::GateUp, n);
        if self.is_parallel() {
            return gpu.convert(self.plain(Kind::Qkv, read), 1.0, to);
        }
        gpu.copy(x, &saved.middle, self.hidden_len())?;
        let norm = (&self.layer.mlp_norm, &saved.middle_rstd);
        self.normed(self.hidden(x), norm, to)
    }

    /// x += the output of attention or of the MLP, normalised where the family does so.
    fn add_output(
        self,
        kind: Kind,
        input: &Tensor,
        x: Mat<'_>,
        saved: &Saved,
    ) -> Result<(), Error> {
        let (gamma, output, rstd) = self.output_norm(kind, saved);
        let Some(((gamma, output), rstd)) = gamma.zip(output).zip(rstd) else {
            let multiplier = self.residual_multiplier();
            if multiplier == 1.0 {
                return self.forward(kind, input, x);
            }
            let y = self.hidden(&self.scratch.d_hidden);
            self.forward(kind, input, y)?;
            self.pass.gpu.convert(y, multiplier, y)?;
            return self.pass.gpu.add(y, x);
        };
        let y = self.hidden(output);
        self.forward(kind, input, y)?;
        self.pass.gpu.norm_add(y, gamma, self.eps(), x, rstd)
    }

    fn output_norm<'s>(
        self,
        kind: Kind,
        saved: &'s Saved,
    ) -> (Option<&'p Tensor>, Option<&'s Tensor>, Option<&'s Tensor>) {
        match kind {
            Kind::Output => (
                self.layer.attention_output_norm.as_ref(),
                saved.attention_output.as_ref(),
                saved.attention_output_rstd.as_ref(),
            ),
            _ => (
                self.layer.mlp_output_norm.as_ref(),
                saved.mlp_output.as_ref(),
                saved.mlp_output_rstd.as_ref(),
            ),
        }
    }

    /// dx (T, H), the gradient of the layer's output, becomes that of its input; adds to the adapter's gradients.
    pub(super) fn run_backward(
        self,
        dx: &Tensor,
        saved: &Saved,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let [n1, o, n2, activated] = &saved.inputs;
        let d_hidden = self.hidden(dx);

        let dy = self.output_gradient(Kind::Down, d_hidden, saved)?;
        let d_activated = self.backward(Kind::Down, activated, dy, gradients)?;
        let gate_up = self.gate_up(&saved.gate_up);
        let d_gate_up = self.gate_up(&self.scratch.d_outputs);
        self.pass.timed(Part::Activation, 0, || {
            let unit = self.layer.unit;
            unit.backward(gpu, gate_up, d_activated, d_gate_up)
        })?;
        let dn = self.backward(Kind::GateUp, n2, d_gate_up, gradients)?;
        let before_attention = (&self.layer.input_norm, &saved.input_rstd);
        let dy = if self.is_parallel() {
            self.normed_backward(&saved.x, before_attention, dn, d_hidden)?;
            dy // both were added to one hidden state
        } else {
            let norm = (&self.layer.mlp_norm, &saved.middle_rstd);
            self.normed_backward(&saved.middle, norm, dn, d_hidden)?;
            self.output_gradient(Kind::Output, d_hidden, saved)?
        };
        let d_o = self.backward(Kind::Output, o, dy, gradients)?;
        let d_qkv = &self.scratch.d_outputs;
        self.pass.timed(Part::AttentionBackward, 0, || {
            let o = self.plain(Kind::Output, o);
            self.attention_backward(saved, (o, d_o), d_qkv)
        })?;
        let d_qkv = d_qkv.mat(self.pass.rows, self.queries() + 2 * self.keys());
        if self.rotates_first() {
            self.heads_backward(saved, d_qkv)?;
            self.rotate(d_qkv, true)?;
        } else {
            self.rotate(d_qkv, true)?;
            self.heads_backward(saved, d_qkv)?;
        }
        let dn = self.backward(Kind::Qkv, n1, d_qkv, gradients)?;
        self.normed_backward(&saved.x, before_attention, dn, d_hidden)
    }

    /// The gradient of the output of attention or of the MLP before its norm, in the activations' type.
    fn output_gradient(self, kind: Kind, dx: Mat<'_>, saved: &Saved) -> Result<Mat<'p>, Error> {
        let gpu = self.pass.gpu;
        let dy = self.hidden(&self.scratch.d_hidden);
        let (gamma, output, rstd) = self.output_norm(kind, saved);
        match gamma.zip(output).zip(rstd) {
            None => gpu.convert(dx, self.residual_multiplier(), dy)?,
            Some(((gamma, output), rstd)) => {
                let output = self.hidden(output);
                gpu.norm_backward(output, gamma, rstd, dx, dy, Write::Replace)?;
            }
        }
        Ok(dy)
    }

    /// The gradient of normalised heads becomes that of the heads before their norm.
    fn heads_backward(self, saved: &Saved, d_qkv: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let (q, k) = (self.queries(), self.keys());
        let Some((raw, d_raw)) = saved.raw.as_ref().zip(self.scratch.d_heads.as_ref()) else {
            return Ok(());
        };
        let raw = raw.mat(self.pass.rows, q + k);
        let d_raw = d_raw.mat(self.pass.rows, q + k);
        let parts = [
            (0..q, &self.layer.query_norm, &saved.q_rstd),
            (q..q + k, &self.layer.key_norm, &saved.k_rstd),
        ];
        for (columns, gamma, rstd) in parts {
            let Some((gamma, rstd)) = gamma.as_ref().zip(rstd.as_ref()) else {
                continue;
            };
            let d = d_qkv.of_columns(columns.clone());
            let x = raw.of_columns(columns.clone());
            let to = d_raw.of_columns(columns);
            gpu.norm_backward(x, gamma, rstd, d, to, Write::Replace)?;
            gpu.convert(to, 1.0, d)?;
        }
        Ok(())
    }
}
