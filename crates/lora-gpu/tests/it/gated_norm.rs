//! Norms beside a gate.
use crate::support::{
    Matrix, assert_close, assert_near, differences, download, each_case, noise, twice, upload,
    vector,
};
use lora_gpu::{Dtype, GatedNorm, Gpu};

const EPS: f64 = 1e-5;

/// What stands beside the gate: a norm behind it, before it, or none; γ of all groups, or one for all.
const KINDS: [(bool, bool, bool); 4] = [
    (true, true, false),
    (true, false, false),
    (true, false, true),
    (false, true, false),
];

/// y of one group of a row.
fn reference(x: &[f64], z: &[f64], gamma: Option<&[f64]>, behind: bool) -> Vec<f64> {
    let silu = |z: f64| z / (1.0 + (-z).exp());
    let opened = || x.iter().zip(z).map(|(x, z)| x * silu(*z));
    let Some(gamma) = gamma else {
        return opened().collect();
    };
    let normed: Vec<f64> = match behind {
        true => opened().collect(),
        false => x.to_vec(),
    };
    let squares: f64 = normed.iter().map(|u| u * u).sum();
    let rstd = 1.0 / (squares / x.len() as f64 + EPS).sqrt();
    let gates = opened().zip(gamma);
    gates.map(|(opened, gamma)| opened * rstd * gamma).collect()
}

#[test]
fn a_norm_beside_a_gate_and_its_gradient_are_the_formulas() {
    each_case(|gpu, rows, columns, place| {
        for groups in [1, 3] {
            for kind in KINDS {
                check(gpu, (rows, columns, groups), place, kind);
            }
        }
    });
}

fn check(
    gpu: &Gpu,
    (rows, width, groups): (usize, usize, usize),
    place: crate::support::Place,
    (is_normed, behind, shared): (bool, bool, bool),
) {
    let (dtype, shape) = (gpu.dtype(), (rows, width * groups));
    let gammas = if shared { width } else { width * groups };
    let (gamma, values) = vector(gpu, &noise(7, gammas));
    let norm = GatedNorm {
        gamma: is_normed.then_some(&gamma),
        groups,
        behind,
    };
    let x = Matrix::noise(gpu, dtype, shape, place, (1, 2.0));
    let z = Matrix::noise(gpu, dtype, shape, place, (2, 3.0));
    let dy = Matrix::noise(gpu, dtype, shape, place, (3, 1.0));
    let [y, dx, dz] = [0; 3].map(|_| Matrix::unwritten(gpu, dtype, shape, place));
    let rstd = upload(gpu, Dtype::F32, &vec![f64::NAN; rows * groups]);
    let found = twice(gpu, &[&y, &dx, &dz], || {
        let read = [x.mat(), z.mat()];
        gpu.gated_norm(norm, read, EPS as f32, y.mat(), &rstd)
            .expect("it fits");
        gpu.gated_norm_backward(norm, read, &rstd, dy.mat(), [dx.mat(), dz.mat()])
            .expect("it fits");
    });
    let mut expected = [Vec::new(), Vec::new(), Vec::new()];
    for (index, x) in x.values.chunks(width).enumerate() {
        let own = index * width..(index + 1) * width;
        let (z, dy) = (&z.values[own.clone()], &dy.values[own]);
        let of_group = if shared { 0 } else { index % groups * width };
        let gamma = is_normed.then(|| &values[of_group..of_group + width]);
        expected[0].extend(reference(x, z, gamma, behind));
        if width > 100 {
            continue; // differences of all columns take too long
        }
        let of_x = |x: &[f64]| reference(x, z, gamma, behind);
        expected[1].extend(differences(x, dy, of_x));
        let of_z = |z: &[f64]| reference(x, z, gamma, behind);
        expected[2].extend(differences(z, dy, of_z));
    }
    assert_close("y", dtype, &found[0], &expected[0], 3e-6);
    if width > 100 {
        return assert!(found.concat().iter().all(|v| v.is_finite()));
    }
    // What both are differences of: as uncertain as these, where one is all but the other.
    let rstd = download(gpu, &rstd);
    let terms = (0..dy.values.len()).map(|i| {
        let of_group = if shared {
            0
        } else {
            i / width % groups * width
        };
        let (gamma, rstd) = match is_normed {
            true => (values[of_group + i % width], rstd[i / width]),
            false => (1.0, 1.0),
        };
        rstd * (gamma * dy.values[i]).abs() * (x.values[i].abs() + z.values[i].abs() + 1.0)
    });
    let noise = 1e-6 * terms.fold(0.0, f64::max);
    assert_near("dx", dtype, &found[1], &expected[1], noise);
    assert_near("dz", dtype, &found[2], &expected[2], noise);
}
