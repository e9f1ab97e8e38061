//! Queries, keys and values of a layer on the device: how they lie, and their heads normalised and rotated, in the family's
//! order, and back. A layer without values of its own has its keys, as projected, in their place; of one that reads the keys
//! and values of another there are queries alone here.
use super::kinds::{ALIGNED, normalised_heads};
use super::pass::LayerPass;
use super::saved::Saved;
use super::trained_norms::NormBackward;
use lora_checkpoint::{HeadNorms, Heads, Norm};
use lora_gpu::{Error, Mat, Tensor, Write};
use std::ops::Range;

/// A norm of some heads of a row.
struct HeadNorm<'t> {
    columns: Range<usize>,
    /// γ of each head, (d), or of all of them.
    gamma: &'t Tensor,
    rstd: &'t Tensor,
    /// Whose it is, if γ can train: values have none of their own.
    norm: Option<Norm>,
}

impl<'p> LayerPass<'p> {
    /// The heads of the layer's keys and values, and the width of all its heads.
    pub(super) fn own_heads(self) -> Heads {
        self.pass.config.heads_of(self.index)
    }

    /// Values of the queries of a row.
    pub(super) fn queries(self) -> usize {
        self.pass.config.num_attention_heads * self.own_heads().width
    }

    /// Values of the keys of a row.
    pub(super) fn keys(self) -> usize {
        let own = self.own_heads();
        own.kv * own.width
    }

    /// Queries, keys and values side by side, or their gradients, (T, q + 2·kv).
    pub(super) fn qkv<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        let columns = self.queries() + 2 * self.keys();
        let stride = match self.has_gate() {
            true => columns.next_multiple_of(ALIGNED),
            false => self.mixed_stride(),
        };
        tensor.strided(0, self.pass.rows, columns, stride)
    }

    /// The keys and values of the batch's own rows, (T, 2·kv).
    pub(super) fn own_kv<'t>(self, qkv: &'t Tensor) -> Mat<'t> {
        let all = self.qkv(qkv);
        all.of_columns(self.queries()..all.columns())
    }

    /// Columns of the keys, and of the values.
    fn key_columns(self) -> [Range<usize>; 2] {
        let (q, k) = (self.queries(), self.keys());
        [q..q + k, q + k..q + 2 * k]
    }

    /// Queries and keys as projected become those that attention takes.
    pub(super) fn turn_heads(self, saved: &Saved) -> Result<(), Error> {
        let qkv = self.qkv(self.saved_qkv(saved));
        if self.values_are_keys() {
            let [keys, values] = self.key_columns().map(|own| qkv.of_columns(own));
            self.pass.gpu.convert(keys, 1.0, values)?;
        }
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
            self.rotate(d_qkv, true)?;
        } else {
            self.rotate(d_qkv, true)?;
            self.heads_norm_backward(saved, d_qkv, gradients)?;
        }
        if self.values_are_keys() {
            let [keys, values] = self.key_columns().map(|own| d_qkv.of_columns(own));
            self.pass.gpu.add(values, keys)?;
        }
        Ok(())
    }

    /// Whether heads are rotated before their norm.
    fn rotates_first(self) -> bool {
        self.pass.config.facts().head_norms == HeadNorms::EachRotatedHead
    }

    /// Whether the layer's values are its keys as projected.
    fn values_are_keys(self) -> bool {
        let config = self.pass.config;
        config.values_are_keys(self.index) && config.keys_of(self.index).is_none()
    }

    /// The norms of heads that the layer has.
    fn head_norms<'t>(self, saved: &'t Saved) -> impl Iterator<Item = HeadNorm<'t>>
    where
        'p: 't,
    {
        let layer = self.layer;
        let [keys, values] = self.key_columns();
        let of_queries = (Some(Norm::Query), 0..self.queries());
        let all = [
            (of_queries, &layer.query_norm, &saved.q_rstd),
            ((Some(Norm::Key), keys), &layer.key_norm, &saved.k_rstd),
            ((None, values), &layer.value_norm, &saved.v_rstd),
        ];
        all.into_iter()
            .filter_map(|((norm, columns), gamma, rstd)| {
                Some(HeadNorm {
                    columns,
                    gamma: gamma.as_ref()?,
                    rstd: rstd.as_ref()?,
                    norm,
                })
            })
    }

    /// What norms of heads read, (T, q + …).
    fn raw<'t>(self, saved: &'t Saved) -> Option<Mat<'t>> {
        let columns = normalised_heads(self.pass.config, self.index);
        let raw = saved.raw.as_ref().filter(|_| columns > 0)?;
        Some(raw.mat(self.pass.rows, columns))
    }

    /// Queries and keys, and values, normalised head by head, where the family does so.
    fn norm_heads(self, saved: &Saved, qkv: Mat<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let Some(raw) = self.raw(saved) else {
            return Ok(());
        };
        gpu.convert(qkv.of_columns(0..raw.columns()), 1.0, raw)?;
        for own in self.head_norms(saved) {
            let from = raw.of_columns(own.columns.clone());
            let to = qkv.of_columns(own.columns);
            gpu.norm(from, own.gamma, self.eps(), to, own.rstd)?;
        }
        Ok(())
    }

    /// The gradient of normalised heads becomes that of the heads before their norm.
    fn heads_norm_backward(
        self,
        saved: &Saved,
        d_qkv: Mat<'_>,
        gradients: &Tensor,
    ) -> Result<(), Error> {
        let Some(raw) = self.raw(saved) else {
            return Ok(());
        };
        for own in self.head_norms(saved) {
            let x = raw.of_columns(own.columns.clone());
            let d = d_qkv.of_columns(own.columns);
            if let Some(norm) = own.norm {
                let back = NormBackward {
                    x,
                    rstd: own.rstd,
                    dn: d,
                    means: None,
                };
                self.norm_gradients(norm, back, gradients)?;
            }
            let gpu = self.pass.gpu;
            gpu.norm_backward(x, own.gamma, own.rstd, d, d, Write::Replace)?;
        }
        Ok(())
    }

    /// Rotates queries and the layer's own keys in place, or turns their gradients back; nothing if the layer has no rotary
    /// embedding.
    fn rotate(self, qkv: Mat<'_>, back: bool) -> Result<(), Error> {
        let config = self.pass.config;
        let ropes = config.query_rope(self.index);
        let Some((of_queries, of_keys)) = ropes.zip(config.layers[self.index].rope) else {
            return Ok(());
        };
        let (q, width) = (self.queries(), self.own_heads().width);
        let k = match config.keys_of(self.index) {
            Some(_) => 0,
            None => self.keys(),
        };
        let turn = |columns, rope| {
            let rotary = self.pass.rotations.get(rope, config, width);
            self.pass.gpu.rotate(qkv.of_columns(columns), rotary, back)
        };
        if of_queries == of_keys {
            return turn(0..q + k, of_keys);
        }
        turn(0..q, of_queries)?;
        turn(q..q + k, of_keys)
    }
}
