//! Attention by scores in memory, for heads that the device's own kernels don't compute, and in generation: segment by segment,
//! some queries at a time, all heads at once. Scores are computed again in the backward pass. In training every query head
//! gets keys and values of its own, so that one product serves all heads; in generation, where keys are many and queries few,
//! the query heads of a group take turns.
use super::pass::LayerPass;
use super::saved::Saved;
use super::score_blocks::blocks;
use lora_gpu::{Batch, Error, Keys, Mat, Product, Scores, Segment, Tensor};

/// Heads as products take them: for one query head of each group, all groups as a batch.
#[derive(Debug, Clone, Copy)]
struct Heads {
    /// Query heads that share a key head.
    group: usize,
    kv_heads: usize,
    /// d.
    width: usize,
}

impl Heads {
    /// The first of the query heads number `member` of their groups in rows of queries or outputs.
    fn of_queries<'t>(self, rows: Mat<'t>, member: usize) -> Mat<'t> {
        rows.of_columns(member * self.width..(member + 1) * self.width)
    }

    /// The first key head, of rows of keys and values.
    fn of_keys<'t>(self, rows: Mat<'t>) -> Mat<'t> {
        rows.of_columns(0..self.width)
    }

    /// The first head of values.
    fn of_values<'t>(self, rows: Mat<'t>) -> Mat<'t> {
        let first = self.kv_heads * self.width;
        rows.of_columns(first..first + self.width)
    }

    /// Values from one query head to that of the next group.
    fn query_stride(self) -> usize {
        self.group * self.width
    }

    /// The scores of the first of these query heads, (queries, keys), and values to those of the next group.
    fn of_scores<'t>(self, scores: &'t Tensor, shape: Scores, member: usize) -> (Mat<'t>, usize) {
        let one = shape.queries * shape.keys;
        let mat = scores.strided(member * one, shape.queries, shape.keys, shape.keys);
        (mat, self.group * one)
    }

    fn batch(self, a: usize, b: usize, c: usize) -> Batch {
        Batch {
            count: self.kv_heads,
            a,
            b,
            c,
        }
    }
}

impl<'p> LayerPass<'p> {
    /// Heads where keys are as the model has them.
    fn grouped(self) -> Heads {
        let own = self.own_heads();
        Heads {
            group: self.pass.config.num_attention_heads / own.kv,
            kv_heads: own.kv,
            width: own.width,
        }
    }

    /// Heads where every query head has keys of its own.
    fn repeated(self) -> Heads {
        let heads = self.grouped();
        Heads {
            group: 1,
            kv_heads: heads.group * heads.kv_heads,
            width: heads.width,
        }
    }

    /// The same for every query head, (T, 2·q).
    fn repeated_kv(self, saved: &Saved) -> Result<Mat<'p>, Error> {
        let to = self
            .scratch
            .repeated
            .mat(self.pass.rows, 2 * self.queries());
        let Heads { group, width, .. } = self.grouped();
        let own = self.own_kv(self.saved_qkv(saved));
        self.pass.gpu.repeat_heads(own, width, group, to)?;
        Ok(to)
    }

    /// The rows of a segment's keys and values, and of others that follow them there.
    fn seen_by<'t>(self, segment: &Segment, kv: Mat<'t>) -> Result<Mat<'t>, Error>
    where
        'p: 't,
    {
        match segment.keys {
            Keys::Rows(first) => Ok(kv.of_rows(first..kv.rows())),
            Keys::Listed(place) => {
                let gathered = self.scratch.kv.mat(segment.seen(), kv.columns());
                self.pass
                    .gpu
                    .gather(kv, &self.pass.listed, place, gathered)?;
                Ok(gathered)
            }
        }
    }

    /// Attention of the rotated q, k and v of the rows themselves: its output in o (T, q).
    pub(super) fn attention_by_scores(self, saved: &Saved, o: Mat<'_>) -> Result<(), Error> {
        let kv = self.repeated_kv(saved)?;
        self.attention_over(self.repeated(), saved, kv, o)
    }

    /// Attention to the keys and values of a cache, (rows, 2·kv).
    pub(super) fn cached_attention(
        self,
        saved: &Saved,
        kv: Mat<'_>,
        o: Mat<'_>,
    ) -> Result<(), Error> {
        self.attention_over(self.grouped(), saved, kv, o)
    }

    fn attention_over(
        self,
        heads: Heads,
        saved: &Saved,
        kv: Mat<'_>,
        o: Mat<'_>,
    ) -> Result<(), Error> {
        let shape = self.pass.scores(self.index);
        let q = self
            .qkv(self.saved_qkv(saved))
            .of_columns(0..self.queries());
        let Scratches { scores, p, .. } = self.scratches();
        for segment in &self.pass.segments {
            let kv = self.seen_by(segment, kv)?;
            let rows = match &self.pass.cache {
                Some(_) => segment.seen(), // behind them nothing was written yet
                None => kv.rows(),
            };
            for block in blocks(*segment, shape, rows) {
                let q = q.of_rows(block.queries.clone());
                let kv = kv.of_rows(block.keys.clone());
                self.scores(heads, q, kv, block.shape)?;
                let sinks = self.layer.sinks.as_ref();
                self.pass.gpu.softmax(scores, (block.shape, sinks), p)?;
                self.outputs(heads, kv, block.shape, o.of_rows(block.queries))?;
            }
        }
        Ok(())
    }

    fn scratches(self) -> Scratches<'p> {
        Scratches {
            scores: &self.scratch.scores,
            d_scores: &self.scratch.d_scores,
            p: &self.scratch.p,
            d_s: &self.scratch.d_s,
        }
    }

    /// Raw scores q·k of all heads.
    fn scores(self, heads: Heads, q: Mat<'_>, kv: Mat<'_>, shape: Scores) -> Result<(), Error> {
        let k = heads.of_keys(kv);
        for member in 0..heads.group {
            let (s, stride) = heads.of_scores(&self.scratch.scores, shape, member);
            let q = heads.of_queries(q, member);
            let batch = heads.batch(heads.query_stride(), heads.width, stride);
            self.pass
                .gpu
                .gemm_batched(Product::new(q.n(), k.t(), s), batch)?;
        }
        Ok(())
    }

    /// o = P·V.
    fn outputs(self, heads: Heads, kv: Mat<'_>, shape: Scores, o: Mat<'_>) -> Result<(), Error> {
        let v = heads.of_values(kv);
        for member in 0..heads.group {
            let (p, stride) = heads.of_scores(&self.scratch.p, shape, member);
            let o = heads.of_queries(o, member);
            let batch = heads.batch(stride, heads.width, heads.query_stride());
            self.pass
                .gpu
                .gemm_batched(Product::new(p.n(), v.n(), o), batch)?;
        }
        Ok(())
    }

    /// From the gradient of attention's output, (T, q), those of the rotated queries, keys and values, in `d_qkv`.
    pub(super) fn attention_by_scores_backward(
        self,
        saved: &Saved,
        d_o: Mat<'_>,
        d_qkv: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let shape = self.pass.scores(self.index);
        let repeated = self.repeated_kv(saved)?;
        let width = repeated.columns();
        let q = self
            .qkv(self.saved_qkv(saved))
            .of_columns(0..self.queries());
        let d_q = self.qkv(d_qkv).of_columns(0..self.queries());
        let d_kv = self.scratch.d_kv.mat(self.pass.rows, width);
        gpu.zero(&self.scratch.d_kv, self.pass.rows * width)?;
        for segment in &self.pass.segments {
            let kv = self.seen_by(segment, repeated)?;
            let d_seen = match segment.keys {
                Keys::Rows(first) => d_kv.of_rows(first..d_kv.rows()),
                Keys::Listed(_) => {
                    let gathered = &self.scratch.d_gathered;
                    gpu.zero(gathered, segment.seen() * width)?;
                    gathered.mat(segment.seen(), width)
                }
            };
            for block in blocks(*segment, shape, kv.rows()) {
                let at = BlockBackward {
                    shape: block.shape,
                    q: q.of_rows(block.queries.clone()),
                    kv: kv.of_rows(block.keys.clone()),
                    d_o: d_o.of_rows(block.queries.clone()),
                    d_q: d_q.of_rows(block.queries),
                    d_kv: d_seen.of_rows(block.keys),
                };
                self.block_backward(at)?;
            }
            if let Keys::Listed(place) = segment.keys {
                gpu.put_add(d_seen, &self.pass.listed, place, d_kv)?;
            }
        }
        let Heads { group, width, .. } = self.grouped();
        gpu.sum_heads(d_kv, width, group, self.own_kv(d_qkv))
    }

    fn block_backward(self, at: BlockBackward<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let heads = self.repeated();
        let Scratches {
            scores,
            d_scores,
            p,
            d_s,
        } = self.scratches();
        self.scores(heads, at.q, at.kv, at.shape)?;
        let (d_p, stride) = heads.of_scores(d_scores, at.shape, 0);
        let to_scores = heads.batch(heads.width, heads.width, stride);
        let d_o = heads.of_queries(at.d_o, 0);
        gpu.gemm_batched(
            Product::new(d_o.n(), heads.of_values(at.kv).t(), d_p),
            to_scores,
        )?;
        let sinks = self.layer.sinks.as_ref();
        gpu.softmax_backward(scores, d_scores, (at.shape, sinks), p, d_s)?;
        let (p, _) = heads.of_scores(p, at.shape, 0);
        let (d_s, _) = heads.of_scores(d_s, at.shape, 0);
        let q = heads.of_queries(at.q, 0);
        let d_q = heads.of_queries(at.d_q, 0);
        let from_scores = heads.batch(stride, heads.width, heads.width);
        let d_k = heads.of_keys(at.d_kv);
        let d_v = heads.of_values(at.d_kv);
        gpu.gemm_batched(
            Product::new(d_s.n(), heads.of_keys(at.kv).n(), d_q),
            from_scores,
        )?;
        gpu.gemm_batched(Product::new(d_s.t(), q.n(), d_k).adding(), from_scores)?;
        gpu.gemm_batched(Product::new(p.t(), d_o.n(), d_v).adding(), from_scores)
    }
}

/// Scores and probabilities of one block.
struct Scratches<'p> {
    scores: &'p Tensor,
    d_scores: &'p Tensor,
    p: &'p Tensor,
    d_s: &'p Tensor,
}

/// What the backward pass of some queries reads, and where it writes.
struct BlockBackward<'t> {
    shape: Scores,
    q: Mat<'t>,
    kv: Mat<'t>,
    d_o: Mat<'t>,
    d_q: Mat<'t>,
    d_kv: Mat<'t>,
}
