//! MXFP4 (OCP Microscaling Formats 1.0) in its two layouts: blocks of 32 floats of 4 bits that share an exponent. GGUF has the
//! exponent before the block, whose bytes hold value j below and value j + 16 above; folders of transformers have neighbours
//! in a byte, the first below, and all exponents in another tensor.
use crate::error::Fault;

/// Values of a block.
pub(crate) const VALUES: usize = 32;
/// Bytes of its values.
const CODES: usize = 16;
/// Bytes of a block in GGUF.
const BYTES: usize = 17;

/// Twice the value of a float: a sign, two bits of exponent, one of mantissa.
#[inline(always)]
pub(crate) fn doubled(code: u8) -> f32 {
    let code = i32::from(code);
    let exponent = code >> 1 & 3;
    let normal = i32::from(exponent != 0);
    let magnitude = (normal << 1 | code & 1) << (exponent - normal);
    let sign = code >> 3;
    ((magnitude ^ -sign) + sign) as f32
}

/// Half of the scale 2^(e − 127), as ggml computes it.
#[inline(always)]
pub(crate) fn half_scale(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(match e {
        0 | 1 => 0x0020_0000 << e,
        _ => (e - 1) << 23,
    })
}

/// The same as transformers computes it: 255, which the format calls NaN, is 2^128, and that overflows.
#[inline(always)]
fn half_scale_apart(e: u8) -> f32 {
    match e {
        255 => f32::INFINITY,
        _ => half_scale(e),
    }
}

/// Widens whole blocks of transformers' layout.
///
/// # Panics
/// If the lengths are not those of the same blocks.
#[allow(unsafe_code)] // a call of what was compiled for the instructions that this machine has
pub(crate) fn widen_apart(codes: &[u8], exponents: &[u8], out: &mut [f32]) {
    assert_eq!(
        (codes.len(), out.len()),
        (exponents.len() * CODES, exponents.len() * VALUES),
        "no whole number of blocks"
    );
    #[inline(always)]
    fn body(codes: &[u8], exponents: &[u8], out: &mut [f32]) {
        let blocks = codes.as_chunks::<CODES>().0.iter().zip(exponents);
        for ((codes, &e), out) in blocks.zip(out.as_chunks_mut::<VALUES>().0) {
            let half = half_scale_apart(e);
            for (&pair, out) in codes.iter().zip(out.as_chunks_mut::<2>().0) {
                *out = [doubled(pair & 15) * half, doubled(pair >> 4) * half];
            }
        }
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2(codes: &[u8], exponents: &[u8], out: &mut [f32]) {
            body(codes, exponents, out);
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has these instructions.
            return unsafe { avx2(codes, exponents, out) };
        }
    }
    body(codes, exponents, out);
}

/// Blocks of one layout in the other; the values are the same.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// 16 bytes of each, neighbours together.
    pub(crate) codes: Vec<u8>,
    pub(crate) exponents: Vec<u8>,
}

impl Blocks {
    /// Of GGUF's blocks.
    pub(crate) fn of_gguf(bytes: &[u8]) -> Self {
        let mut all = Self::default();
        for block in bytes.as_chunks::<BYTES>().0 {
            let code = |value: usize| match value {
                0..CODES => block[1 + value] & 15,
                _ => block[1 + value - CODES] >> 4,
            };
            all.exponents.push(block[0]);
            let pair = |k: usize| code(2 * k) | code(2 * k + 1) << 4;
            all.codes.extend((0..CODES).map(pair));
        }
        all
    }

    /// As GGUF has them.
    pub(crate) fn to_gguf(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.exponents.len() * BYTES);
        for (codes, &e) in self
            .codes
            .as_chunks::<CODES>()
            .0
            .iter()
            .zip(&self.exponents)
        {
            let code = |value: usize| match value % 2 {
                0 => codes[value / 2] & 15,
                _ => codes[value / 2] >> 4,
            };
            all.push(e);
            all.extend((0..CODES).map(|j| code(j) | code(j + CODES) << 4));
        }
        all
    }

    /// Refuses an exponent that is no number: the readers of the two layouts take it for different ones.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        match self.exponents.contains(&255) {
            false => Ok(()),
            true => Err(
                Fault::new("a block of MXFP4 has the exponent 255, which is no number")
                    .hint("the source holds it: was the download or the copy damaged?"),
            ),
        }
    }
}
