//! Causal convolutions and what stands around them, against f64 and finite differences; sequence by sequence, going on from
//! what was read before, with any number of threads.
use crate::harness::{assert_close, gradient, values, weigh, wide};
use lora_kernels::conv::{self, Behind};
use lora_kernels::layout::{Layout, Span};
use lora_kernels::short_conv;

fn convolved(x: &[f64], w: &[f64], columns: usize, starts: &[usize], behind: Behind) -> Vec<f64> {
    convolved_from(x, (w, &vec![0.0; columns]), columns, starts, behind)
}

/// The same with a bias.
fn convolved_from(
    x: &[f64],
    (w, bias): (&[f64], &[f64]),
    columns: usize,
    starts: &[usize],
    behind: Behind,
) -> Vec<f64> {
    let taps = w.len() / columns;
    let mut y = vec![0.0; x.len()];
    for bounds in starts.windows(2) {
        for t in bounds[0]..bounds[1] {
            for c in 0..columns {
                let term = |j: usize| {
                    let at = (t + j + 1).checked_sub(taps).filter(|at| *at >= bounds[0]);
                    at.map_or(0.0, |at| w[j * columns + c] * x[at * columns + c])
                };
                let sum = bias[c] + (0..taps).map(term).sum::<f64>();
                y[t * columns + c] = match behind {
                    Behind::Nothing => sum,
                    Behind::Silu => sum / (1.0 + (-sum).exp()),
                };
            }
        }
    }
    y
}

#[test]
fn convolutions_see_their_own_sequence_alone() {
    let (columns, starts) = (7, [0, 2, 2, 75, 76]);
    for (count, behind) in [(1, Behind::Silu), (4, Behind::Silu), (3, Behind::Nothing)] {
        let (x, w) = (values(76 * columns, 1), values(count * columns, 2));
        let taps = conv::Taps {
            values: &w,
            bias: None,
            columns,
            behind,
        };
        let layout = Layout::packed(&starts);
        let mut y = vec![f32::NAN; x.len()];
        conv::forward(taps, &layout, &x, &mut y, None);
        let (x64, w64) = (wide(&x), wide(&w));
        assert_close(
            "y",
            &y,
            &convolved(&x64, &w64, columns, &starts, behind),
            1e-6,
        );

        let weights = values(x.len(), 3);
        let (mut dy, mut dx) = (weights.clone(), vec![f32::NAN; x.len()]);
        conv::backward(taps, &layout, &x, &mut dy, &mut dx);
        let want = gradient(&x64, |x| {
            weigh(&weights, &convolved(x, &w64, columns, &starts, behind))
        });
        assert_close("dx", &dx, &want, 1e-5);
    }
}

#[test]
fn convolutions_with_a_bias() {
    let (columns, starts) = (7, [0, 2, 75, 76]);
    let (x, w, bias) = (
        values(76 * columns, 1),
        values(4 * columns, 2),
        values(columns, 4),
    );
    let taps = conv::Taps {
        values: &w,
        bias: Some(&bias),
        columns,
        behind: Behind::Silu,
    };
    let layout = Layout::packed(&starts);
    let (x64, w64, bias64) = (wide(&x), wide(&w), wide(&bias));
    let of = |x: &[f64]| convolved_from(x, (&w64, &bias64), columns, &starts, Behind::Silu);
    let mut y = vec![f32::NAN; x.len()];
    conv::forward(taps, &layout, &x, &mut y, None);
    assert_close("y", &y, &of(&x64), 1e-6);
    let weights = values(x.len(), 3);
    let (mut dy, mut dx) = (weights.clone(), vec![f32::NAN; x.len()]);
    conv::backward(taps, &layout, &x, &mut dy, &mut dx);
    let want = gradient(&x64, |x| weigh(&weights, &of(x)));
    assert_close("dx", &dx, &want, 1e-5);
}

#[test]
fn a_convolution_goes_on_from_its_tail() {
    let (columns, t) = (5, 40);
    let (x, w) = (values(t * columns, 1), values(4 * columns, 2));
    let bias = values(columns, 3);
    let taps = conv::Taps {
        values: &w,
        bias: Some(&bias),
        columns,
        behind: Behind::Silu,
    };
    let mut whole = vec![0.0; x.len()];
    conv::forward(taps, &Layout::packed(&[0, t]), &x, &mut whole, None);
    let (mut y, mut tail) = (vec![f32::NAN; x.len()], vec![0.0; 3 * columns]);
    for rows in [0..1, 1..3, 3..30, 30..31, 31..40] {
        let mut layout = Layout::default();
        let seen = Span {
            start: 0,
            len: rows.end,
        };
        layout.push(rows.start, rows.len(), [seen]);
        conv::forward(taps, &layout, &x, &mut y, Some(&mut tail));
    }
    assert_eq!(whole, y, "the same sums in the same order");
}

/// c∘conv(b∘x) in f64.
fn between_gates(sides: &[f64], w: &[f64], columns: usize, starts: &[usize]) -> Vec<f64> {
    let part = |index: usize| {
        let rows = sides.chunks_exact(3 * columns);
        let own = rows.flat_map(move |row| &row[index * columns..(index + 1) * columns]);
        own.copied().collect::<Vec<f64>>()
    };
    let [b, c, x] = [0, 1, 2].map(part);
    let entered: Vec<f64> = b.iter().zip(x).map(|(b, x)| b * x).collect();
    let y = convolved(&entered, w, columns, starts, Behind::Nothing);
    y.iter().zip(c).map(|(y, c)| y * c).collect()
}

/// Forward and backward, with NaN where nothing may be left over.
fn short(taps: conv::Taps<'_>, layout: &Layout, sides: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let size = sides.len() / 3;
    let nan = || vec![f32::NAN; size];
    let [mut a, mut b, mut c, mut y] = [nan(), nan(), nan(), nan()];
    short_conv::forward(taps, layout, sides, [&mut a, &mut y], None);
    let [mut a, mut d] = [nan(), vec![f32::NAN; 3 * size]];
    short_conv::backward(taps, layout, sides, dy, [&mut a, &mut b, &mut c], &mut d);
    [y, d]
}

#[test]
fn short_convolutions_both_ways() {
    let (columns, starts) = (7, [0, 2, 2, 75, 76]);
    for count in [1, 3] {
        let (sides, w) = (values(76 * 3 * columns, 1), values(count * columns, 2));
        let taps = conv::Taps {
            values: &w,
            bias: None,
            columns,
            behind: Behind::Nothing,
        };
        let dy = values(76 * columns, 3);
        let [y, d] = short(taps, &Layout::packed(&starts), &sides, &dy);
        let (sides64, w64) = (wide(&sides), wide(&w));
        let of = |sides: &[f64]| between_gates(sides, &w64, columns, &starts);
        assert_close("y", &y, &of(&sides64), 1e-6);
        let want = gradient(&sides64, |sides| weigh(&dy, &of(sides)));
        assert_close("d", &d, &want, 1e-6);
    }
}

#[test]
fn a_short_convolution_goes_on_from_its_tail_with_any_number_of_threads() {
    let (columns, t) = (5, 140);
    let (sides, w) = (values(t * 3 * columns, 1), values(3 * columns, 2));
    let taps = conv::Taps {
        values: &w,
        bias: None,
        columns,
        behind: Behind::Nothing,
    };
    let dy = values(t * columns, 3);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let all = || short(taps, &Layout::packed(&[0, t]), &sides, &dy);
        pool.build().unwrap().install(all)
    };
    let one = with(1);
    for threads in [2, 3, 8] {
        assert!(with(threads) == one, "{threads} threads");
    }
    let mut tail = vec![0.0; 2 * columns];
    for (row, whole) in one[0].chunks_exact(columns).enumerate() {
        let mut layout = Layout::default();
        let seen = Span {
            start: 0,
            len: row + 1,
        };
        layout.push(row, 1, [seen]);
        // A pass reads the rows at work alone.
        let mut all = vec![0.0; sides.len()];
        let own = row * 3 * columns..(row + 1) * 3 * columns;
        all[own.clone()].copy_from_slice(&sides[own]);
        let (mut entered, mut y) = (vec![0.0; t * columns], vec![0.0; t * columns]);
        short_conv::forward(taps, &layout, &all, [&mut entered, &mut y], Some(&mut tail));
        assert_eq!(&y[row * columns..(row + 1) * columns], whole, "row {row}");
    }
}
