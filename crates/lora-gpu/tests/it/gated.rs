//! Gated linear units.
use crate::support::{Matrix, assert_close, differences, each_case, twice};
use lora_gpu::{Activation, Clamped};

const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + z.tanh())
        }
    }
}

/// One row of gate | up.
fn reference(activation: Activation, gate_up: &[f64]) -> Vec<f64> {
    let (gate, up) = gate_up.split_at(gate_up.len() / 2);
    gate.iter()
        .zip(up)
        .map(|(&g, u)| activated(activation, g) * u)
        .collect()
}

#[test]
fn gates_open_and_their_gradient_is_the_difference() {
    each_case(|gpu, rows, columns, place| {
        for activation in ACTIVATIONS {
            let dtype = gpu.dtype();
            let gate_up = Matrix::noise(gpu, dtype, (rows, 2 * columns), place, (1, 6.0));
            let out = Matrix::unwritten(gpu, dtype, (rows, columns), place);
            let found = twice(gpu, &[&out], || {
                gpu.gated(gate_up.mat(), activation, out.mat())
                    .expect("it fits");
            });
            let rows_of_both = || gate_up.values.chunks(2 * columns);
            let expected: Vec<f64> = rows_of_both()
                .flat_map(|row| reference(activation, row))
                .collect();
            assert_close("out", dtype, &found[0], &expected, 1e-6);

            let d = Matrix::noise(gpu, dtype, (rows, columns), place, (2, 1.0));
            let gradient: Vec<f64> = rows_of_both()
                .zip(d.values.chunks(columns))
                .flat_map(|(row, d)| differences_of_columns(activation, row, d))
                .collect();
            let d_gate_up = Matrix::unwritten(gpu, dtype, (rows, 2 * columns), place);
            let found = twice(gpu, &[&d_gate_up], || {
                gpu.gated_backward(gate_up.mat(), activation, d.mat(), d_gate_up.mat())
                    .expect("it fits");
            });
            assert_close("gradient", dtype, &found[0], &gradient, 3e-6); // e^−z is as uncertain as z is large
            gpu.gated_backward(gate_up.mat(), activation, d.mat(), gate_up.mat())
                .expect("it fits");
            assert_eq!(gate_up.now(gpu), found[0], "in place");
        }
    });
}

/// A gate, and what it lets through in a matrix of its own: in place, what stands beside each stays.
#[test]
fn a_gate_that_lies_apart_gives_the_same_bits() {
    each_case(|gpu, rows, columns, place| {
        let activation = Activation::GeluTanh;
        let dtype = gpu.dtype();
        let both = Matrix::noise(gpu, dtype, (rows, 2 * columns), place, (1, 6.0));
        let d = Matrix::noise(gpu, dtype, (rows, columns), place, (2, 1.0));
        let half = |side: usize| -> Matrix {
            let rows_of_both = both.values.chunks(2 * columns);
            let own = rows_of_both.flat_map(|row| &row[side * columns..(side + 1) * columns]);
            let own: Vec<f64> = own.copied().collect();
            let place = crate::support::PLACES[2 * side]; // each with a stride of its own
            Matrix::new(gpu, dtype, (rows, columns), place, &own)
        };
        let (gate, up) = (half(0), half(1));
        let pair = [gate.mat(), up.mat()];
        let [expected, found] =
            [(), ()].map(|()| Matrix::unwritten(gpu, dtype, (rows, columns), place));
        gpu.gated(both.mat(), activation, expected.mat())
            .expect("it fits");
        gpu.gated_pair(pair, activation, found.mat())
            .expect("it fits");
        assert_eq!(found.now(gpu), expected.now(gpu));
        gpu.gated_pair_backward(pair, activation, d.mat(), pair)
            .expect("it fits");
        gpu.gated_backward(both.mat(), activation, d.mat(), both.mat())
            .expect("it fits");
        let gradient = both.now(gpu);
        let of_half = |side: usize| -> Vec<f64> {
            let rows = gradient.chunks(2 * columns);
            let own = rows.flat_map(|row| &row[side * columns..(side + 1) * columns]);
            own.copied().collect()
        };
        assert_eq!([gate.now(gpu), up.now(gpu)], [of_half(0), of_half(1)]);
    });
}

/// The gradient of a row, whose columns don't depend on each other.
fn differences_of_columns(activation: Activation, x: &[f64], d: &[f64]) -> Vec<f64> {
    let columns = d.len();
    let pairs: Vec<Vec<f64>> = (0..columns)
        .map(|i| {
            differences(&[x[i], x[columns + i]], &d[i..=i], |pair| {
                reference(activation, pair)
            })
        })
        .collect();
    let side = |side: usize| pairs.iter().map(move |pair| pair[side]);
    side(0).chain(side(1)).collect()
}

#[test]
fn far_from_zero_nothing_overflows() {
    crate::support::each_precision(|gpu| {
        let place = crate::support::PLACES[0];
        let x = [
            -1e4, -200.0, -90.0, 90.0, 200.0, 1e4, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
        ];
        let gate_up = Matrix::new(gpu, gpu.dtype(), (1, 12), place, &x);
        let out = Matrix::unwritten(gpu, gpu.dtype(), (1, 6), place);
        let d_gate_up = Matrix::unwritten(gpu, gpu.dtype(), (1, 12), place);
        for activation in ACTIVATIONS {
            gpu.gated(gate_up.mat(), activation, out.mat())
                .expect("it fits");
            let expected = reference(activation, &gate_up.values);
            assert_close("out", gpu.dtype(), &out.now(gpu), &expected, 1e-9);
            gpu.gated_backward(gate_up.mat(), activation, out.mat(), d_gate_up.mat())
                .expect("it fits");
            assert!(d_gate_up.now(gpu).iter().all(|v| v.is_finite()));
        }
    });
}

const UNIT: Clamped = Clamped {
    alpha: 1.702,
    limit: 2.503, // no bfloat16
};

/// One row of gate | up through the clamped unit.
fn clamped(gate_up: &[f64]) -> Vec<f64> {
    let (alpha, limit) = (f64::from(UNIT.alpha), f64::from(UNIT.limit));
    let (gate, up) = gate_up.split_at(gate_up.len() / 2);
    let pairs = gate.iter().zip(up);
    pairs
        .map(|(g, u)| {
            let (g, u) = (g.min(limit), u.clamp(-limit, limit));
            (u + 1.0) * g / (1.0 + (-alpha * g).exp())
        })
        .collect()
}

/// Values reach beyond the limit on both sides, and none is at it, where there is no slope.
#[test]
fn the_clamped_unit_and_its_gradient_are_the_formulas() {
    each_case(|gpu, rows, columns, place| {
        let dtype = gpu.dtype();
        let gate_up = Matrix::noise(gpu, dtype, (rows, 2 * columns), place, (3, 5.0));
        let limit = f64::from(UNIT.limit);
        assert!(
            gate_up
                .values
                .iter()
                .all(|v| (v.abs() - limit).abs() > 2e-5)
        );
        let out = Matrix::unwritten(gpu, dtype, (rows, columns), place);
        let found = twice(gpu, &[&out], || {
            gpu.clamped(gate_up.mat(), UNIT, out.mat())
                .expect("it fits");
        });
        let rows_of_both = || gate_up.values.chunks(2 * columns);
        let expected: Vec<f64> = rows_of_both().flat_map(clamped).collect();
        assert_close("out", dtype, &found[0], &expected, 1e-6);

        let d = Matrix::noise(gpu, dtype, (rows, columns), place, (2, 1.0));
        let gradient: Vec<f64> = rows_of_both()
            .zip(d.values.chunks(columns))
            .flat_map(|(row, d)| {
                let pairs: Vec<Vec<f64>> = (0..columns)
                    .map(|i| differences(&[row[i], row[columns + i]], &d[i..=i], clamped))
                    .collect();
                let side = |side: usize| pairs.iter().map(move |pair| pair[side]);
                side(0).chain(side(1)).collect::<Vec<f64>>()
            })
            .collect();
        let d_gate_up = Matrix::unwritten(gpu, dtype, (rows, 2 * columns), place);
        let found = twice(gpu, &[&d_gate_up], || {
            gpu.clamped_backward(gate_up.mat(), UNIT, d.mat(), d_gate_up.mat())
                .expect("it fits");
        });
        assert_close("gradient", dtype, &found[0], &gradient, 3e-6);
        gpu.clamped_backward(gate_up.mat(), UNIT, d.mat(), gate_up.mat())
            .expect("it fits");
        assert_eq!(gate_up.now(gpu), found[0], "in place");
    });
}
