//! What MLPs without a gate compute.
use crate::support::{Matrix, PLACES, assert_close, differences, each_case, each_precision, twice};
use lora_gpu::{Activation, Plain};

const XIELU: Plain = Plain::Xielu {
    alpha_p: 0.8,
    alpha_n: 1.1,
    beta: 0.5,
    eps: -1e-6,
};

const ALL: [Plain; 3] = [
    Plain::Of(Activation::Silu),
    Plain::Of(Activation::GeluTanh),
    XIELU,
];

fn reference(f: Plain, x: f64) -> f64 {
    match f {
        Plain::Of(Activation::Silu) => x / (1.0 + (-x).exp()),
        Plain::Of(Activation::GeluTanh) => {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + z.tanh())
        }
        Plain::Xielu {
            alpha_p,
            alpha_n,
            beta,
            eps,
        } => {
            let [alpha_p, alpha_n, beta, eps] = [alpha_p, alpha_n, beta, eps].map(f64::from);
            let above = alpha_p * x * x;
            let below = alpha_n * (x.min(eps).exp_m1() - x);
            (if x > 0.0 { above } else { below }) + beta * x
        }
    }
}

#[test]
fn values_go_through_and_their_gradient_is_the_difference() {
    each_case(|gpu, rows, columns, place| {
        for f in ALL {
            let (dtype, shape) = (gpu.dtype(), (rows, columns));
            let x = Matrix::noise(gpu, dtype, shape, place, (1, 6.0));
            let out = Matrix::unwritten(gpu, dtype, shape, place);
            let found = twice(gpu, &[&out], || {
                gpu.activate(x.mat(), f, out.mat()).expect("it fits");
            });
            let expected: Vec<f64> = x.values.iter().map(|&x| reference(f, x)).collect();
            assert_close("out", dtype, &found[0], &expected, 1e-6);

            let d = Matrix::noise(gpu, dtype, shape, place, (2, 1.0));
            let of_one = |x: &[f64]| vec![reference(f, x[0])];
            let pairs = x.values.iter().zip(&d.values);
            let gradient: Vec<f64> = pairs
                .flat_map(|(&x, &d)| differences(&[x], &[d], of_one))
                .collect();
            let dx = Matrix::unwritten(gpu, dtype, shape, place);
            let found = twice(gpu, &[&dx], || {
                gpu.activate_backward(x.mat(), f, d.mat(), dx.mat())
                    .expect("it fits");
            });
            assert_close("gradient", dtype, &found[0], &gradient, 3e-6);
            gpu.activate_backward(x.mat(), f, d.mat(), x.mat())
                .expect("it fits");
            assert_eq!(x.now(gpu), found[0], "in place");
        }
    });
}

#[test]
fn far_from_zero_and_at_it_nothing_overflows() {
    each_precision(|gpu| {
        let values = [-1e4, -200.0, -90.0, -1e-7, 0.0, 1e-7, 90.0, 200.0, 1e4];
        let x = Matrix::new(gpu, gpu.dtype(), (1, values.len()), PLACES[0], &values);
        let out = Matrix::unwritten(gpu, gpu.dtype(), (1, values.len()), PLACES[0]);
        for f in ALL {
            gpu.activate(x.mat(), f, out.mat()).expect("it fits");
            let expected: Vec<f64> = x.values.iter().map(|&x| reference(f, x)).collect();
            assert_close("out", gpu.dtype(), &out.now(gpu), &expected, 1e-7);
            gpu.activate_backward(x.mat(), f, x.mat(), out.mat())
                .expect("it fits");
            assert!(out.now(gpu).iter().all(|v| v.is_finite()), "{f:?}");
        }
    });
}
