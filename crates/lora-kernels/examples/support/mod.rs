//! What the measurements share.
use lora_kernels::Rows;

/// A weight in bfloat16, read as lora-checkpoint's are: in place.
pub struct Bf16 {
    bytes: Vec<[u8; 2]>,
    columns: usize,
}

impl Bf16 {
    /// Some values (rows, columns).
    pub fn new(rows: usize, columns: usize, seed: u32) -> Self {
        let all = values(rows * columns, seed);
        let bytes = all
            .iter()
            .map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes());
        Self {
            bytes: bytes.collect(),
            columns,
        }
    }
}

impl Rows for Bf16 {
    fn rows(&self) -> usize {
        self.bytes.len() / self.columns
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read_rows(&self, first: usize, out: &mut [f32]) {
        let from = &self.bytes[first * self.columns..][..out.len()];
        for (to, &bytes) in out.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
        }
    }
    fn unit(&self) -> usize {
        1
    }
    fn read_part(&self, row: usize, column: usize, out: &mut [f32]) {
        let from = &self.bytes[row * self.columns + column..][..out.len()];
        for (to, &bytes) in out.iter_mut().zip(from) {
            *to = f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
        }
    }
    fn as_bf16(&self) -> Option<&[[u8; 2]]> {
        Some(self.bytes.as_slice())
    }
    fn stored_part(&self, row: usize, column: usize, len: usize) -> &[u8] {
        let start = row * self.columns + column;
        let part = self.bytes.get(start..start + len);
        part.unwrap_or_default().as_flattened()
    }
}

/// n values between −0.5 and 0.5.
pub fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut z = seed;
    let next = |_| {
        z = z.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (z >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(next).collect()
}

/// Runs `work`, told the seconds for each measurement, on the threads that the command line asks for:
/// `[THREADS [SECONDS]]`.
pub fn on_threads(seconds: f64, work: impl FnOnce(f64) + Send) {
    let argument = |n: usize| std::env::args().nth(n)?.parse::<f64>().ok();
    let threads = argument(1).unwrap_or(2.0) as usize;
    let seconds = argument(2).unwrap_or(seconds);
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(|| work(seconds)),
        Err(e) => println!("no {threads} threads: {e}"),
    }
}
