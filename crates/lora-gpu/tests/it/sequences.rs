//! What the tests of rules along sequences share: rows of sequences side by side, texts that go on, and what may be rounded.
use crate::support::{Matrix, Place, assert_close};
use lora_gpu::{Dtype, Gpu, Keys, Segment};

/// Of f32 arithmetic, relative to the largest of those values of which a result is a sum.
pub(crate) const NOISE: f64 = 5e-6;

/// Rows of each sequence, and the number of its text.
pub(crate) type Lengths<'l> = &'l [(usize, u32)];

/// Segments one behind the other, the numbers of their texts, and the rows of all.
pub(crate) fn segments(lengths: Lengths<'_>) -> (Vec<Segment>, Vec<u32>, usize) {
    let mut first = 0;
    let segments = lengths.iter().map(|&(queries, _)| {
        let segment = Segment {
            first,
            queries,
            past: 0,
            keys: Keys::Rows(first),
        };
        first += queries;
        segment
    });
    let segments = segments.collect();
    let texts = lengths.iter().map(|&(_, text)| text).collect();
    (segments, texts, first)
}

/// What f makes of the rows of each sequence, all sides of a row behind each other, and of as many rows of others.
pub(crate) fn by_sequence(
    lengths: Lengths<'_>,
    sides: &[&Matrix],
    (others, width): (&[f64], usize),
    f: impl Fn(&[f64], &[f64]) -> Vec<f64>,
) -> Vec<f64> {
    let row = |row: usize| {
        let of =
            |side: &&Matrix| side.values[row * side.columns..(row + 1) * side.columns].to_vec();
        sides.iter().flat_map(of).collect::<Vec<f64>>()
    };
    let (mut first, mut all) = (0, Vec::new());
    for &(n, _) in lengths {
        let rows: Vec<f64> = (first..first + n).flat_map(row).collect();
        let others = others.get(first * width..(first + n) * width);
        all.extend(f(&rows, others.unwrap_or_default()));
        first += n;
    }
    all
}

/// Two texts, the first of 80 rows, in batches one after the other: `f` makes of a batch's rows those of its output, of `width`
/// columns. The outputs of the first text, then those of the second.
pub(crate) fn continued<const N: usize>(
    (gpu, place): (&Gpu, Place),
    sides: [&Matrix; N],
    (pieces, width): (&[Lengths<'_>], usize),
    mut f: impl FnMut(Lengths<'_>, [Matrix; N]) -> Vec<f64>,
) -> Vec<f64> {
    let mut found = [Vec::new(), Vec::new()];
    for &lengths in pieces {
        let part = |all: &Matrix| {
            let mut values = Vec::new();
            for &(n, text) in lengths {
                let seen = found[text as usize].len() / width;
                let first = (seen + 80 * text as usize) * all.columns;
                values.extend_from_slice(&all.values[first..first + n * all.columns]);
            }
            let rows = values.len() / all.columns;
            Matrix::new(gpu, gpu.dtype(), (rows, all.columns), place, &values)
        };
        let output = f(lengths, sides.map(part));
        let mut rest = &output[..];
        for &(n, text) in lengths {
            let (own, others) = rest.split_at(n * width);
            found[text as usize].extend_from_slice(own);
            rest = others;
        }
    }
    found.concat()
}

/// In f32 each value, in bfloat16 the root of the mean square: `roundings` of at most 2⁻⁹ of a value lie on the way, each
/// independent, twice of which is allowed where signs cancel.
#[track_caller]
pub(crate) fn check(
    what: &str,
    gpu: &Gpu,
    (found, expected): (&[f64], &[f64]),
    (roundings, noise): (usize, f64),
) {
    if gpu.dtype() == Dtype::F32 {
        return assert_close(what, Dtype::F32, found, expected, noise);
    }
    let rms = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let off = rms(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let allowed = 2.0 * (roundings as f64).sqrt() / 512.0 * rms(&mut expected.iter().copied());
    assert!(off <= allowed, "{what}: {off:.2e} of {allowed:.2e}");
}
