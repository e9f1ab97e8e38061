//! Attention of one layer on the device: segment by segment, some queries at a time, all heads at once. Scores are computed
//! again in the backward pass.
use super::pass::{Keys, LayerPass, Segment};
use super::scratch::Saved;
use lora_gpu::{Batch, Error, Mat, Product, Scores, Tensor};
use std::ops::Range;

/// Queries at a time, at most.
const QUERIES: usize = 512;
/// Values of scores that exist at once, about.
const SCORES: usize = 1 << 26;

/// Queries of a segment that are computed at once.
fn step(heads: usize, keys: usize) -> usize {
    (SCORES / (heads * keys).max(1)).clamp(1, QUERIES)
}

/// Values of the scores of the largest block of a segment.
pub(super) fn scores_of(heads: usize, segment: &Segment) -> usize {
    let keys = segment.seen();
    heads * keys * step(heads, keys).min(segment.queries)
}

/// The same for a sequence of this length that shares nothing.
pub(super) fn scores_of_length(heads: usize, length: usize) -> usize {
    heads * length * step(heads, length).min(length)
}

/// Some queries of a segment, and the keys that they see.
#[derive(Debug, Clone)]
struct Block {
    /// Rows of the queries.
    queries: Range<usize>,
    /// Which of the segment's keys.
    keys: Range<usize>,
    shape: Scores,
}

fn blocks(segment: Segment, shape: Scores) -> impl Iterator<Item = Block> {
    let step = step(shape.heads, segment.seen());
    (0..segment.queries).step_by(step).map(move |from| {
        let to = segment.queries.min(from + step);
        let end = segment.past + to;
        let start = match shape.window {
            Some(window) => (segment.past + from + 1).saturating_sub(window),
            None => 0,
        };
        Block {
            queries: segment.first + from..segment.first + to,
            keys: start..end,
            shape: Scores {
                queries: to - from,
                keys: end - start,
                past: segment.past + from - start,
                ..shape
            },
        }
    })
}

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

    /// The first key head.
    fn of_keys<'t>(self, rows: Mat<'t>) -> Mat<'t> {
        rows.of_columns(0..self.width)
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
    fn heads(self) -> Heads {
        let config = self.pass.config;
        Heads {
            group: config.num_attention_heads / config.num_key_value_heads,
            kv_heads: config.num_key_value_heads,
            width: config.head_dim,
        }
    }

    fn qkv<'t>(self, tensor: &'t Tensor) -> Mat<'t> {
        tensor.mat(self.pass.rows, self.queries() + 2 * self.keys())
    }

    /// Values of the queries of a row.
    pub(super) fn queries(self) -> usize {
        self.pass.config.num_attention_heads * self.pass.config.head_dim
    }

    /// Values of the keys of a row.
    pub(super) fn keys(self) -> usize {
        self.pass.config.num_key_value_heads * self.pass.config.head_dim
    }

    /// Keys and values of a segment, (seen, 2·kv), from rows of `kv`, or from a cache.
    fn seen_by<'t>(self, segment: &Segment, kv: Mat<'t>) -> Result<Mat<'t>, Error>
    where
        'p: 't,
    {
        match segment.keys {
            Keys::Rows(first) => Ok(kv.of_rows(first..first + segment.seen())),
            Keys::Listed(place) => {
                let gathered = self.scratch.kv.mat(segment.seen(), kv.columns());
                self.pass
                    .gpu
                    .gather(kv, &self.pass.listed, place, gathered)?;
                Ok(gathered)
            }
        }
    }

    /// Attention of the rotated q, k and v: its output in the first columns of O's input.
    pub(super) fn attention(self, saved: &Saved, kv: Mat<'_>, o: Mat<'_>) -> Result<(), Error> {
        let shape = self.pass.scores(self.index);
        let q = self.qkv(&saved.qkv).of_columns(0..self.queries());
        for segment in &self.pass.segments {
            let kv = self.seen_by(segment, kv)?;
            for block in blocks(*segment, shape) {
                let q = q.of_rows(block.queries.clone());
                let kv = kv.of_rows(block.keys.clone());
                self.scores(q, kv, block.shape)?;
                let Scratches { scores, p, .. } = self.scratches();
                self.pass.gpu.softmax(scores, block.shape, p)?;
                self.outputs(kv, block.shape, o.of_rows(block.queries))?;
            }
        }
        Ok(())
    }

    /// The keys and values of the batch's own rows.
    pub(super) fn own_kv<'t>(self, qkv: &'t Tensor) -> Mat<'t> {
        let all = self.qkv(qkv);
        all.of_columns(self.queries()..all.columns())
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
    fn scores(self, q: Mat<'_>, kv: Mat<'_>, shape: Scores) -> Result<(), Error> {
        let heads = self.heads();
        let k = heads.of_keys(kv.of_columns(0..self.keys()));
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
    fn outputs(self, kv: Mat<'_>, shape: Scores, o: Mat<'_>) -> Result<(), Error> {
        let heads = self.heads();
        let v = heads.of_keys(kv.of_columns(self.keys()..2 * self.keys()));
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
    pub(super) fn attention_backward(
        self,
        saved: &Saved,
        d_o: Mat<'_>,
        d_qkv: &Tensor,
    ) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let shape = self.pass.scores(self.index);
        let own = self.own_kv(&saved.qkv);
        let q = self.qkv(&saved.qkv).of_columns(0..self.queries());
        let d_q = self.qkv(d_qkv).of_columns(0..self.queries());
        let d_kv = self.scratch.d_kv.mat(self.pass.rows, 2 * self.keys());
        gpu.zero(&self.scratch.d_kv, self.pass.rows * 2 * self.keys())?;
        for segment in &self.pass.segments {
            let kv = self.seen_by(segment, own)?;
            let d_seen = match segment.keys {
                Keys::Rows(first) => d_kv.of_rows(first..first + segment.seen()),
                Keys::Listed(_) => {
                    let gathered = &self.scratch.d_gathered;
                    gpu.zero(gathered, segment.seen() * 2 * self.keys())?;
                    gathered.mat(segment.seen(), 2 * self.keys())
                }
            };
            for block in blocks(*segment, shape) {
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
        gpu.convert(d_kv, 1.0, self.own_kv(d_qkv))
    }

    fn block_backward(self, at: BlockBackward<'_>) -> Result<(), Error> {
        let gpu = self.pass.gpu;
        let heads = self.heads();
        let keys = self.keys();
        let Scratches {
            scores,
            d_scores,
            p,
            d_s,
        } = self.scratches();
        self.scores(at.q, at.kv, at.shape)?;
        let v = heads.of_keys(at.kv.of_columns(keys..2 * keys));
        for member in 0..heads.group {
            let (d_p, stride) = heads.of_scores(d_scores, at.shape, member);
            let d_o = heads.of_queries(at.d_o, member);
            let batch = heads.batch(heads.query_stride(), heads.width, stride);
            gpu.gemm_batched(Product::new(d_o.n(), v.t(), d_p), batch)?;
        }
        gpu.softmax_backward(scores, d_scores, at.shape, p, d_s)?;
        let k = heads.of_keys(at.kv.of_columns(0..keys));
        let d_k = heads.of_keys(at.d_kv.of_columns(0..keys));
        let d_v = heads.of_keys(at.d_kv.of_columns(keys..2 * keys));
        for member in 0..heads.group {
            let (p, stride) = heads.of_scores(p, at.shape, member);
            let (d_s, _) = heads.of_scores(d_s, at.shape, member);
            let q = heads.of_queries(at.q, member);
            let d_o = heads.of_queries(at.d_o, member);
            let d_q = heads.of_queries(at.d_q, member);
            let to_queries = heads.batch(stride, heads.width, heads.query_stride());
            let to_keys = heads.batch(stride, heads.query_stride(), heads.width);
            gpu.gemm_batched(Product::new(d_s.n(), k.n(), d_q), to_queries)?;
            gpu.gemm_batched(Product::new(d_s.t(), q.n(), d_k).adding(), to_keys)?;
            gpu.gemm_batched(Product::new(p.t(), d_o.n(), d_v).adding(), to_keys)?;
        }
        Ok(())
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
