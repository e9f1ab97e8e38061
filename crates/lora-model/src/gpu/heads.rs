//! Queries, keys and values of a layer on the device: their heads normalised and rotated, in the family's order, and back.
use super::pass::LayerPass;
use super::saved::Saved;
use super::trained_norms::NormBackward;
use lora_checkpoint::{HeadNorms, Norm};
use lora_gpu::{Error, Mat, Tensor, Write};

impl LayerPass<'_> {
    /// Queries and keys as projected become those that attention takes.
    pub(super) fn turn_heads(self, saved: &Saved) -> Result<(), Error> {
        let qkv = self.qkv(self.saved_qkv(saved));
        if self.rotates_first() {
            self.rotate(qkv, false)?;
            return self.norm_heads(saved, qkv);
        }
        self.norm_heads(saved, qkv)?;
        self.rotate(qkv, false)
    }

    /// The gradients of rotated queries and keys become those of the queries and keys as projected.
    pub(super) fn heads_backward(
        self,
        saved: &Saved,
        d_qkv: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        if self.rotates_first() {
            self.heads_norm_backward(saved, d_qkv, gradients)?;
            return self.rotate(d_qkv, true);
        }
        self.rotate(d_qkv, true)?;
        self.heads_norm_backward(saved, d_qkv, gradients)
    }

    /// Whether heads are rotated before their norm.
    fn rotates_first(self) -> bool {
        self.pass.config.facts().head_norms == HeadNorms::EachRotatedHead
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

    /// The gradient of normalised heads becomes that of the heads before their norm.
    fn heads_norm_backward(
        self,
        saved: &Saved,
        d_qkv: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let (q, k) = (self.queries(), self.keys());
        let Some((raw, d_raw)) = saved.raw.as_ref().zip(self.scratch.d_heads.as_ref()) else {
            return Ok(());
        };
        let raw = raw.mat(self.pass.rows, q + k);
        let d_raw = d_raw.mat(self.pass.rows, q + k);
        let parts = [
            (Norm::Query, 0..q, &self.layer.query_norm, &saved.q_rstd),
            (Norm::Key, q..q + k, &self.layer.key_norm, &saved.k_rstd),
        ];
        for (norm, columns, gamma, rstd) in parts {
            let Some((gamma, rstd)) = gamma.as_ref().zip(rstd.as_ref()) else {
                continue;
            };
            let d = d_qkv.of_columns(columns.clone());
            let x = raw.of_columns(columns.clone());
            let to = d_raw.of_columns(columns);
            let back = NormBackward {
                x,
                rstd,
                dn: d,
                means: None,
            };
            self.norm_gradients(norm, back, gradients)?;
            gpu.norm_backward(x, gamma, rstd, d, to, Write::Replace)?;
            gpu.convert(to, 1.0, d)?;
        }
        Ok(())
    }
}
