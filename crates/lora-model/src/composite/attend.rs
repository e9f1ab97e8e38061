//! Attention of a layer in the graph.
use super::graph::{Graph, Run, Shared, sigmoid};
use super::softmax::{masked_softmax, soft_cap};
use candle_core::{Result, Tensor};
use lora_checkpoint::{HeadNorms, Norm, Projection};

impl Graph<'_> {
    /// Causal attention inside each sequence, (T, H).
    pub(super) fn attention(
        &self,
        x: &Tensor,
        layer: usize,
        shared: &mut Shared,
    ) -> Result<Tensor> {
        let mut last = None;
        let q = self.projection(x, layer, Projection::Q, &mut last)?; // (T, heads·d)
        let gate = match self.config.facts().linear_of(Projection::Q) {
            Projection::QGate => {
                Some(self.projection(x, layer, Projection::OutputGate, &mut last)?)
            }
            _ => None,
        };
        let (k, v) = match self.config.keys_of(layer).and_then(|own| shared.get(&own)) {
            Some((k, v)) => (k.clone(), v.clone()),
            None => {
                let k = self.projection(x, layer, Projection::K, &mut last)?; // (T, kv_heads·d)
                let v = match self.config.values_are_keys(layer) {
                    true => k.clone(),
                    false => self.projection(x, layer, Projection::V, &mut last)?,
                };
                (k, v)
            }
        };
        shared.insert(layer, (k.clone(), v.clone()));
        let (q, k) = match self.config.facts().head_norms {
            HeadNorms::EachHead | HeadNorms::EachRotatedHead => (q, k),
            HeadNorms::AllHeads => (
                self.norm(&q, layer, Norm::Query)?,
                self.norm(&k, layer, Norm::Key)?,
            ),
        };
        let mut outputs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            outputs.push(self.attend(run, layer, &q, &k, &v)?);
        }
        let mut output = if outputs.len() == 1 {
            outputs.swap_remove(0)
        } else {
            Tensor::cat(&outputs, 0)?
        };
        if let Some(gate) = gate {
            output = (output * sigmoid(&gate)?)?;
        }
        self.projection(&output, layer, Projection::O, &mut None)
    }

    /// Attention of a run of equally long sequences, rows of (T, ·) -> (B·length, heads·d).
    fn attend(
        &self,
        run: &Run,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
    ) -> Result<Tensor> {
        let Run {
            row,
            sequences,
            length,
        } = *run;
        let own = self.config.heads_of(layer);
        let (heads, kv_heads, width) = (self.config.num_attention_heads, own.kv, own.width);
        // Their norm and their rotary embedding are those of the layer whose they are.
        let of_keys = self.config.keys_of(layer).unwrap_or(layer);
        let split = |x: &Tensor, heads: usize| {
            let rows = if x.dim(0)? == sequences * length {
                x.clone()
            } else {
                x.narrow(0, row, sequences * length)?
            };
            rows.reshape((sequences, length, heads, width))?
                .transpose(1, 2)?
                .contiguous() // (B, heads, T, d)
        };
        let rotate = |x: Tensor, rope: Option<usize>| match rope {
            Some(rope) => self
                .ropes
                .of(rope, length)?
                .apply(&x, self.config.facts().rotary_pairs),
            None => Ok(x),
        };
        let place = |x: Tensor, layer: usize, norm, rope| match self.config.facts().head_norms {
            HeadNorms::EachHead => rotate(self.norm(&x, layer, norm)?, rope),
            HeadNorms::EachRotatedHead => self.norm(&rotate(x, rope)?, layer, norm),
            HeadNorms::AllHeads => rotate(x, rope),
        };
        let q = place(
            split(q, heads)?,
            layer,
            Norm::Query,
            self.config.query_rope(layer),
        )?;
        let q = (q * self.config.attention_scale())?;
        let rope = self.config.layers[of_keys].rope;
        let k = place(split(k, kv_heads)?, of_keys, Norm::Key, rope)?;
        let v = self.values(split(v, kv_heads)?)?;
        // The heads of a group share their keys: their queries are stacked, so that keys need no copies.
        let grouped = q.reshape((sequences, kv_heads, heads / kv_heads * length, width))?;
        let scores = grouped
            .matmul(&k.t()?)?
            .reshape((sequences, heads, length, length))?;
        let scores = soft_cap(scores, self.config.attention_softcap)?;
        let sinks = self.config.sinks(layer);
        let sinks = sinks.map(|name| self.weight(&name)).transpose()?;
        let mask = &self.masks[&(length, self.config.layers[layer].window)];
        let (weights, sum) = masked_softmax(&scores, mask, sinks)?;
        let weights = weights.reshape((sequences, kv_heads, heads / kv_heads * length, length))?;
        let output = weights
            .matmul(&v)?
            .reshape((sequences, heads, length, width))?
            .broadcast_div(&sum)?;
        output
            .transpose(1, 2)?
            .reshape((sequences * length, heads * width))
    }
}
