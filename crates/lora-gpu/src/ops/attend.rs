//! Attention whose scores are never in memory.
use super::tiles::AttentionTiles;
use super::{Args, Grid, check_mat, check_tensor};
use crate::{Dtype, Error, Gpu, Mat, Tensor};

/// Threads of a block.
const THREADS: u32 = 128;
/// Values of a row that are copied at once: a head has a multiple of so many.
const CHUNK: usize = 8;

/// Attention of a batch. q, k and v of all heads stand side by side in a row.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'t> {
    /// Rotated queries and keys, and values: activations, (T, (heads + 2·kv_heads)·d).
    pub qkv: Mat<'t>,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys.
    pub kv_heads: usize,
    /// d.
    pub head_dim: usize,
    /// Keys that a query sees at most, itself the last.
    pub window: Option<usize>,
    /// Factor of the raw q·k.
    pub scale: f32,
    /// c of c·tanh(s/c), to which scaled scores s are capped.
    pub softcap: Option<f32>,
    /// A score of each head, f32 (heads), that its queries see beside their keys and that has no value (attention sinks).
    pub sinks: Option<&'t Tensor>,
    /// Who sees whom.
    pub tiles: &'t AttentionTiles,
}

/// What the backward pass of attention needs of its forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'t> {
    /// Its output, activations (T, heads·d).
    pub o: Mat<'t>,
    /// log Σ e^score of each head and row, f32 (heads, T).
    pub log_sums: &'t Tensor,
}

impl Attention<'_> {
    /// Values of the queries of a row.
    fn queries(&self) -> usize {
        self.heads * self.head_dim
    }

    fn check(&self, gpu: &Gpu, o: Mat<'_>, log_sums: &Tensor) {
        let rows = self.tiles.rows;
        let width = (self.heads + 2 * self.kv_heads) * self.head_dim;
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{} heads of queries and {} of keys",
            self.heads,
            self.kv_heads
        );
        assert!(gpu.attends(self.head_dim), "heads of {}", self.head_dim);
        assert!(self.window != Some(0), "a window of no keys");
        assert!(
            self.softcap.is_none_or(|cap| cap > 0.0),
            "a cap of {:?}",
            self.softcap
        );
        check_mat(
            "queries, keys and values",
            self.qkv,
            gpu.dtype(),
            rows,
            width,
        );
        check_mat("attention's output", o, gpu.dtype(), rows, self.queries());
        check_tensor("logs of sums", log_sums, Dtype::F32, rows * self.heads);
        if let Some(sinks) = self.sinks {
            check_tensor("sinks", sinks, Dtype::F32, self.heads);
        }
    }

    fn args(&self, args: Args) -> Args {
        args.int(self.tiles.rows)
            .int(self.heads)
            .int(self.kv_heads)
            .int(self.head_dim)
            .int(self.window.unwrap_or(0))
            .float(self.scale)
            .float(self.softcap.unwrap_or(0.0))
    }

    fn grid(&self, tiles: usize) -> Grid {
        Grid {
            blocks: [tiles as u32, self.heads as u32, 1],
            threads: THREADS,
        }
    }

    /// The kernel for heads of this width, of that for 64 and that for 128.
    fn kernel(&self, [narrow, wide]: [&'static str; 2]) -> &'static str {
        if self.head_dim <= 64 { narrow } else { wide }
    }
}

/// # Panics
/// If whole chunks of its rows can't be copied.
fn check_chunks(what: &str, mat: Mat<'_>) {
    assert!(
        mat.address().is_multiple_of(16) && mat.stride().is_multiple_of(CHUNK),
        "{what} at {:#x}, {} values apart",
        mat.address(),
        mat.stride()
    );
}

/// Whether attention to heads of this width is computed without scores in memory, with activations of this type.
#[must_use]
pub fn attends(activations: Dtype, head_dim: usize) -> bool {
    let widest = match activations {
        Dtype::Bf16 => 128,
        _ => 64,
    };
    head_dim.is_multiple_of(CHUNK) && (CHUNK..=widest).contains(&head_dim)
}

impl Gpu {
    /// Whether [`attend`](Self::attend) computes heads of this width.
    #[must_use]
    pub fn attends(&self, head_dim: usize) -> bool {
        attends(self.dtype(), head_dim)
    }

    /// o = softmax(cap(scale·q·kᵀ))·v over the keys that each query sees, and the logs of its sums, the sinks' among them.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes, types or places don't fit.
    pub fn attend(&self, attention: Attention<'_>, to: Attended<'_>) -> Result<(), Error> {
        attention.check(self, to.o, to.log_sums);
        check_chunks("queries, keys and values", attention.qkv);
        let tiles = attention.tiles;
        let args = Args::new().mat(attention.qkv).mat(to.o);
        let args = args.tensor(to.log_sums, 0);
        let args = args.tensor(&tiles.queries, 0).tensor(&tiles.listed, 0);
        let args = args.maybe(attention.sinks);
        let kernel = attention.kernel(["attend_64", "attend_128"]);
        let grid = attention.grid(tiles.query_tiles);
        self.launch(kernel, grid, &attention.args(args))
    }

    /// From the gradient of attention's output, those of queries, keys and values as they stand in `d_qkv`. Of the scratch,
    /// `means` is f32 (heads, T), and `d_kv` f32 (T, 2·heads·d).
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If shapes, types or places don't fit.
    pub fn attend_backward(
        &self,
        attention: Attention<'_>,
        from: Attended<'_>,
        d_o: Mat<'_>,
        d_qkv: Mat<'_>,
        (means, d_kv): (&Tensor, Mat<'_>),
    ) -> Result<(), Error> {
        attention.check(self, from.o, from.log_sums);
        let (tiles, dtype, queries) = (attention.tiles, self.dtype(), attention.queries());
        check_mat("gradient of o", d_o, dtype, tiles.rows, queries);
        let width = attention.qkv.columns();
        check_mat("gradient of q, k, v", d_qkv, dtype, tiles.rows, width);
        check_mat("of k and v", d_kv, Dtype::F32, tiles.rows, 2 * queries);
        check_tensor("means", means, Dtype::F32, tiles.rows * attention.heads);
        for mat in [attention.qkv, from.o, d_o] {
            check_chunks("what attention's gradient is of", mat);
        }
        let args = Args::new().mat(attention.qkv).mat(from.o).mat(d_o);
        let args = args.tensor(from.log_sums, 0).tensor(means, 0).mat(d_qkv);
        let args = args.tensor(&tiles.queries, 0).tensor(&tiles.listed, 0);
        let kernel = attention.kernel(["attend_queries_64", "attend_queries_128"]);
        let grid = attention.grid(tiles.query_tiles);
        self.launch(kernel, grid, &attention.args(args))?;
        let args = Args::new().mat(attention.qkv).mat(d_o);
        let args = args.tensor(from.log_sums, 0).tensor(means, 0).mat(d_kv);
        let args = args.tensor(&tiles.keys, 0).tensor(&tiles.visits, 0);
        let kernel = attention.kernel(["attend_keys_64", "attend_keys_128"]);
        let grid = attention.grid(tiles.key_tiles);
        self.launch(kernel, grid, &attention.args(args))?;
        let group = attention.heads / attention.kv_heads;
        self.sum_heads(
            d_kv,
            attention.head_dim,
            group,
            d_qkv.of_columns(queries..width),
        )
    }
}
