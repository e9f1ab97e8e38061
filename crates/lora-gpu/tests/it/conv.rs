//! Convolutions along sequences.
use crate::support::{
    Matrix, PLACES, assert_close, assert_near, differences, download, each_precision, twice, vector,
};
use lora_gpu::{Dtype, Gpu, Keys, Segment, Spans, Taps, Tensor};

/// Lengths of sequences: of one row, shorter than the taps, and longer.
const LENGTHS: [usize; 4] = [5, 1, 2, 9];
const TAPS: [usize; 3] = [1, 3, 4];

fn rows() -> usize {
    LENGTHS.iter().sum()
}

fn spans_of(gpu: &Gpu, segments: &[(usize, u32)]) -> Spans {
    let mut first = 0;
    let mut all = Vec::new();
    for &(queries, _) in segments {
        all.push(Segment {
            first,
            queries,
            past: 0,
            keys: Keys::Rows(first),
        });
        first += queries;
    }
    let texts: Vec<u32> = segments.iter().map(|&(_, text)| text).collect();
    gpu.spans(&all, &texts, first).expect("there is memory")
}

fn spans(gpu: &Gpu) -> Spans {
    let segments: Vec<_> = LENGTHS
        .iter()
        .zip(0..)
        .map(|(&n, text)| (n, text))
        .collect();
    spans_of(gpu, &segments)
}

/// Taps and a bias on the device, and as they are.
struct Weight {
    count: usize,
    columns: usize,
    taps: (Tensor, Vec<f64>),
    bias: Option<(Tensor, Vec<f64>)>,
    silu: bool,
}

impl Weight {
    fn new(gpu: &Gpu, count: usize, columns: usize, behind: bool) -> Self {
        let noise = |seed, len| crate::support::noise(seed, len);
        Self {
            count,
            columns,
            taps: vector(gpu, &noise(11, count * columns)),
            bias: behind.then(|| vector(gpu, &noise(12, columns))),
            silu: behind,
        }
    }

    fn on_device(&self) -> Taps<'_> {
        Taps {
            values: &self.taps.0,
            bias: self.bias.as_ref().map(|(tensor, _)| tensor),
            count: self.count,
            silu: self.silu,
        }
    }

    /// The convolution of one column of a sequence.
    fn column(&self, column: usize, x: &[f64]) -> Vec<f64> {
        let sum = |row: usize| -> f64 {
            let bias = self.bias.as_ref().map_or(0.0, |(_, bias)| bias[column]);
            let taps = (0..self.count).filter_map(|j| {
                let at = (row + j).checked_sub(self.count - 1)?;
                Some(self.taps.1[j * self.columns + column] * x[at])
            });
            bias + taps.sum::<f64>()
        };
        let behind = |sum: f64| match self.silu {
            true => sum / (1.0 + (-sum).exp()),
            false => sum,
        };
        (0..x.len()).map(|row| behind(sum(row))).collect()
    }
}

/// What f makes of each column of each sequence, from `sides` values side by side, (rows, columns) again.
fn by_columns(
    values: &[f64],
    (columns, sides): (usize, usize),
    f: impl Fn(usize, &[f64]) -> Vec<f64>,
) -> Vec<f64> {
    let width = columns * sides;
    let outputs = |n: usize, found: &[f64]| found.len() / n;
    let mut first = 0;
    let mut all = Vec::new();
    for n in LENGTHS {
        for column in 0..columns {
            let side = |side: usize| {
                (first..first + n).map(move |row| values[row * width + side * columns + column])
            };
            let own: Vec<f64> = (0..sides).flat_map(side).collect();
            let found = f(column, &own);
            let parts = outputs(n, &found);
            all.resize(rows() * columns * parts, 0.0);
            for part in 0..parts {
                for row in 0..n {
                    let at = (first + row) * columns * parts + part * columns + column;
                    all[at] = found[part * n + row];
                }
            }
        }
        first += n;
    }
    all
}

/// Convolutions with nothing else, and with a bias and SiLU.
fn each_weight(gpu: &Gpu, check: impl Fn(&Weight, usize)) {
    for columns in [1, 8, 33] {
        for count in TAPS {
            for behind in [false, true] {
                check(&Weight::new(gpu, count, columns, behind), columns);
            }
        }
    }
}

#[test]
fn a_convolution_and_its_gradient_are_the_formulas() {
    each_precision(|gpu| {
        let spans = spans(gpu);
        each_weight(gpu, |weight, columns| {
            for place in PLACES {
                let (dtype, shape) = (gpu.dtype(), (rows(), columns));
                let x = Matrix::noise(gpu, dtype, shape, place, (1, 2.0));
                let y = Matrix::unwritten(gpu, dtype, shape, place);
                let found = twice(gpu, &[&y], || {
                    gpu.conv(weight.on_device(), x.mat(), &spans, None, y.mat())
                        .expect("it fits");
                });
                let f = |column: usize, x: &[f64]| weight.column(column, x);
                let expected = by_columns(&x.values, (columns, 1), f);
                assert_near("y", dtype, &found[0], &expected, 1e-6);

                let dy = Matrix::noise(gpu, dtype, shape, place, (2, 1.0));
                let both: Vec<f64> = side_by_side(&x, &dy);
                let expected = by_columns(&both, (columns, 2), |column, both| {
                    let (x, dy) = both.split_at(both.len() / 2);
                    differences(x, dy, |x| weight.column(column, x))
                });
                let dx = Matrix::unwritten(gpu, dtype, shape, place);
                let found = twice(gpu, &[&dx], || {
                    gpu.conv_backward(weight.on_device(), x.mat(), &spans, dy.mat(), dx.mat())
                        .expect("it fits");
                });
                assert_near("dx", dtype, &found[0], &expected, 3e-6);
            }
        });
    });
}

/// Rows of both, one behind the other.
fn side_by_side(a: &Matrix, b: &Matrix) -> Vec<f64> {
    let rows = a.values.chunks(a.columns).zip(b.values.chunks(b.columns));
    rows.flat_map(|(a, b)| [a, b].concat()).collect()
}

/// c∘conv(b∘x) of one column of a sequence.
fn short(weight: &Weight, column: usize, sides: &[f64]) -> Vec<f64> {
    let n = sides.len() / 3;
    let (b, c, x) = (&sides[..n], &sides[n..2 * n], &sides[2 * n..]);
    let entered: Vec<f64> = b.iter().zip(x).map(|(b, x)| b * x).collect();
    let convolved = weight.column(column, &entered);
    c.iter().zip(convolved).map(|(c, y)| c * y).collect()
}

#[test]
fn a_short_convolution_and_its_gradient_are_the_formulas() {
    each_precision(|gpu| {
        let spans = spans(gpu);
        each_weight(gpu, |weight, columns| {
            if weight.silu {
                return;
            }
            for place in PLACES {
                let (dtype, shape) = (gpu.dtype(), (rows(), columns));
                let wide = (rows(), 3 * columns);
                let sides = Matrix::noise(gpu, dtype, wide, place, (1, 2.0));
                let y = Matrix::unwritten(gpu, dtype, shape, place);
                let found = twice(gpu, &[&y], || {
                    gpu.short_conv(weight.on_device(), sides.mat(), &spans, None, y.mat())
                        .expect("it fits");
                });
                let f = |column: usize, sides: &[f64]| short(weight, column, sides);
                let expected = by_columns(&sides.values, (columns, 3), f);
                assert_close("y", dtype, &found[0], &expected, 1e-6);

                let dy = Matrix::noise(gpu, dtype, shape, place, (2, 1.0));
                let all = side_by_side(&sides, &dy);
                let expected = by_columns(&all, (columns, 4), |column, all| {
                    let (sides, dy) = all.split_at(all.len() / 4 * 3);
                    differences(sides, dy, |sides| short(weight, column, sides))
                });
                let d = Matrix::unwritten(gpu, dtype, wide, place);
                let found = twice(gpu, &[&d], || {
                    let taps = weight.on_device();
                    gpu.short_conv_backward(taps, sides.mat(), &spans, dy.mat(), d.mat())
                        .expect("it fits");
                });
                assert_close("gradient", dtype, &found[0], &expected, 3e-6);
            }
        });
    });
}

/// Pieces of two texts, as batches have them one after the other: longer than a tail, shorter, of one of them alone.
const PIECES: [&[(usize, u32)]; 4] = [&[(4, 1), (1, 0)], &[(1, 0), (1, 1)], &[(2, 1)], &[(3, 0)]];

/// What `run` makes of two texts in pieces, each text's rows behind each other; and of both at once.
fn in_pieces(gpu: &Gpu, width: usize, columns: usize, tail: usize, run: &Run<'_>) -> [Vec<f64>; 2] {
    let place = PLACES[0];
    let whole: [usize; 2] = [0, 1].map(|text| {
        let pieces = PIECES.concat().into_iter();
        pieces.filter(|(_, t)| *t == text).map(|(n, _)| n).sum()
    });
    let noise = Matrix::noise(
        gpu,
        gpu.dtype(),
        (whole[0] + whole[1], width),
        place,
        (1, 2.0),
    );
    let tails = crate::support::upload(gpu, Dtype::F32, &vec![0.0; 2 * tail]);
    let y = Matrix::unwritten(gpu, gpu.dtype(), (noise.rows, columns), place);
    let all = spans_of(gpu, &[(whole[0], 0), (whole[1], 1)]);
    run(&noise, &all, None, &y);
    let mut parts = [Vec::new(), Vec::new()];
    for pieces in PIECES {
        let spans = spans_of(gpu, pieces);
        let mut values = Vec::new();
        for &(n, text) in pieces {
            let seen = parts[text as usize].len() / columns;
            let first = (seen + text as usize * whole[0]) * width;
            values.extend_from_slice(&noise.values[first..first + n * width]);
        }
        let rows = values.len() / width;
        let x = Matrix::new(gpu, gpu.dtype(), (rows, width), place, &values);
        let y = Matrix::unwritten(gpu, gpu.dtype(), (rows, columns), place);
        run(&x, &spans, Some(&tails), &y);
        let found = y.now(gpu);
        let mut first = 0;
        for &(n, text) in pieces {
            parts[text as usize].extend_from_slice(&found[first..first + n * columns]);
            first += n * columns;
        }
    }
    assert!(download(gpu, &tails).iter().any(|v| *v != 0.0));
    [parts.concat(), y.now(gpu)]
}

/// A convolution of some rows, with tails or without.
type Run<'r> = dyn Fn(&Matrix, &Spans, Option<&Tensor>, &Matrix) + 'r;

#[test]
fn a_text_in_pieces_gives_the_bytes_of_the_whole() {
    each_precision(|gpu| {
        for (columns, count) in [(8, 4), (5, 3)] {
            let plain = Weight::new(gpu, count, columns, true);
            let taps = plain.on_device();
            let run: &Run<'_> = &|x, spans, tails, y| {
                gpu.conv(taps, x.mat(), spans, tails, y.mat())
                    .expect("it fits");
                if let Some(tails) = tails {
                    gpu.keep_tails(taps, x.mat(), spans, tails)
                        .expect("it fits");
                }
            };
            let [parts, whole] = in_pieces(gpu, columns, columns, taps.tail(columns), run);
            assert_eq!(parts, whole);
            let plain = Weight::new(gpu, count, columns, false);
            let taps = plain.on_device();
            let run: &Run<'_> = &|sides, spans, tails, y| {
                gpu.short_conv(taps, sides.mat(), spans, tails, y.mat())
                    .expect("it fits");
                if let Some(tails) = tails {
                    gpu.keep_short_tails(taps, sides.mat(), spans, tails)
                        .expect("it fits");
                }
            };
            let [parts, whole] = in_pieces(gpu, 3 * columns, columns, taps.tail(columns), run);
            assert_eq!(parts, whole);
        }
    });
}
