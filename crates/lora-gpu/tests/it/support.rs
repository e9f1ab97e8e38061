//! Matrices whose values are known on both sides, and what "equal" means.
use half::bf16;
use lora_gpu::{Dtype, Gpu, Mat, OnCpu, Precision, Tensor};

pub const PRECISIONS: [Precision; 2] = [Precision::Bf16, Precision::F32];

/// Shapes that no kernel finds easy: one row, one column, odd widths, whole fours, more than a block's threads.
pub const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 5), (1, 577), (4, 64), (2, 1040), (7, 33)];

/// How rows lie: end to end, apart, apart from an odd place on, and, where their width is odd, each on a whole four.
pub const PLACES: [Place; 4] = [place(0, 0), place(8, 4), place(1, 3), place(0, 3)];

const fn place(offset: usize, padding: usize) -> Place {
    Place { offset, padding }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub offset: usize,
    pub padding: usize,
}

pub fn each_precision(check: impl Fn(&Gpu)) {
    for precision in PRECISIONS {
        check(&OnCpu::gpu(precision));
    }
}

/// Both precisions, all shapes, all places.
pub fn each_case(check: impl Fn(&Gpu, usize, usize, Place)) {
    each_precision(|gpu| {
        for (rows, columns) in SHAPES {
            for place in PLACES {
                check(gpu, rows, columns, place);
            }
        }
    });
}

/// Numbers between −1 and 1 that depend on a seed alone.
pub fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as f64 / f64::from(1u32 << 31) - 1.0
        })
        .collect()
}

pub fn rounded(dtype: Dtype, value: f64) -> f64 {
    match dtype {
        Dtype::Bf16 => f64::from(bf16::from_f32(value as f32)),
        _ => f64::from(value as f32),
    }
}

/// A matrix on the device, with what was written there.
pub struct Matrix {
    pub tensor: Tensor,
    pub rows: usize,
    pub columns: usize,
    /// (rows, columns), as rounded.
    pub values: Vec<f64>,
    place: Place,
    before: Vec<f64>,
}

/// What lies between rows: it must stay.
const BETWEEN: f64 = 77.0;

impl Matrix {
    pub fn new(
        gpu: &Gpu,
        dtype: Dtype,
        (rows, columns): (usize, usize),
        place: Place,
        values: &[f64],
    ) -> Self {
        assert_eq!(values.len(), rows * columns);
        let stride = columns + place.padding;
        let mut before = vec![BETWEEN; place.offset + rows * stride + 3];
        let values: Vec<f64> = values.iter().map(|&value| rounded(dtype, value)).collect();
        for (row, values) in values.chunks(columns).enumerate() {
            let at = place.offset + row * stride;
            before[at..at + columns].copy_from_slice(values);
        }
        Self {
            tensor: upload(gpu, dtype, &before),
            rows,
            columns,
            values,
            place,
            before,
        }
    }

    /// Noise of about this size.
    pub fn noise(
        gpu: &Gpu,
        dtype: Dtype,
        shape: (usize, usize),
        place: Place,
        (seed, size): (u64, f64),
    ) -> Self {
        let values: Vec<f64> = noise(seed, shape.0 * shape.1)
            .iter()
            .map(|value| value * size)
            .collect();
        Self::new(gpu, dtype, shape, place, &values)
    }

    /// NaN everywhere: it is to be written without being read.
    pub fn unwritten(gpu: &Gpu, dtype: Dtype, shape: (usize, usize), place: Place) -> Self {
        Self::new(gpu, dtype, shape, place, &vec![f64::NAN; shape.0 * shape.1])
    }

    pub fn mat(&self) -> Mat<'_> {
        let stride = self.columns + self.place.padding;
        self.tensor
            .strided(self.place.offset, self.rows, self.columns, stride)
    }

    /// What stands there now; what lies between the rows must be as before.
    pub fn now(&self, gpu: &Gpu) -> Vec<f64> {
        let all = download(gpu, &self.tensor);
        let stride = self.columns + self.place.padding;
        let mut values = Vec::new();
        for (i, (&now, &before)) in all.iter().zip(&self.before).enumerate() {
            let inside = i
                .checked_sub(self.place.offset)
                .is_some_and(|i| i / stride < self.rows && i % stride < self.columns);
            if inside {
                values.push(now);
            } else {
                assert_eq!(now, before, "value {i} between the rows");
            }
        }
        values
    }

    /// Writes again what it was made with.
    pub fn reset(&self, gpu: &Gpu) {
        let copy = upload(gpu, self.tensor.dtype(), &self.before);
        gpu.copy(&copy, &self.tensor, self.before.len())
            .expect("the CPU copies");
    }
}

pub fn upload(gpu: &Gpu, dtype: Dtype, values: &[f64]) -> Tensor {
    match dtype {
        Dtype::Bf16 => {
            let values: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v as f32)).collect();
            gpu.uploaded(dtype, &values)
        }
        _ => {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            gpu.uploaded(dtype, &values)
        }
    }
    .expect("there is memory")
}

pub fn upload_u32(gpu: &Gpu, values: &[u32]) -> Tensor {
    gpu.uploaded(Dtype::U32, values).expect("there is memory")
}

/// f32 values, rounded ones on both sides.
pub fn vector(gpu: &Gpu, values: &[f64]) -> (Tensor, Vec<f64>) {
    let values: Vec<f64> = values.iter().map(|&v| rounded(Dtype::F32, v)).collect();
    (upload(gpu, Dtype::F32, &values), values)
}

pub fn download(gpu: &Gpu, tensor: &Tensor) -> Vec<f64> {
    match tensor.dtype() {
        Dtype::Bf16 => {
            let mut values = vec![bf16::ZERO; tensor.len()];
            gpu.download(tensor, &mut values).expect("the CPU copies");
            values.into_iter().map(f64::from).collect()
        }
        Dtype::U32 => {
            let mut values = vec![0u32; tensor.len()];
            gpu.download(tensor, &mut values).expect("the CPU copies");
            values.into_iter().map(f64::from).collect()
        }
        _ => {
            let mut values = vec![0f32; tensor.len()];
            gpu.download(tensor, &mut values).expect("the CPU copies");
            values.into_iter().map(f64::from).collect()
        }
    }
}

/// That results are what they should be, but for the rounding of their type and `noise` of f32 arithmetic, which is relative
/// to the largest of those values of which each result is a sum.
#[track_caller]
pub fn assert_close(what: &str, dtype: Dtype, got: &[f64], expected: &[f64], noise: f64) {
    assert_near(what, dtype, got, expected, noise * largest(expected));
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

/// The same with noise that is not relative: results of terms that cancel each other are as uncertain as the terms.
#[track_caller]
pub fn assert_near(what: &str, dtype: Dtype, got: &[f64], expected: &[f64], noise: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let rounding = match dtype {
        Dtype::Bf16 => 1.0 / 256.0,
        _ => 1.0 / f64::from(1 << 23),
    };
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let allowed = rounding * expected.abs() + noise + 1e-37;
        assert!(
            (got - expected).abs() <= allowed,
            "{what} {i}: {got} instead of {expected}, {:.1e} apart, {allowed:.1e} allowed",
            (got - expected).abs()
        );
    }
}

/// The gradient of Σ weights · f(x) by central differences; f of rows that don't depend on each other may be given whole.
pub fn differences(x: &[f64], weights: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let step = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            let mut sum = |x_i: f64| -> f64 {
                x[i] = x_i;
                f(&x).iter().zip(weights).map(|(y, w)| y * w).sum()
            };
            let difference = sum(at + step) - sum(at - step);
            x[i] = at;
            difference / (2.0 * step)
        })
        .collect()
}

/// Runs an operation twice from the same state: it must give the same bytes, which are returned.
pub fn twice(gpu: &Gpu, outputs: &[&Matrix], run: impl Fn()) -> Vec<Vec<f64>> {
    let once = || -> Vec<Vec<f64>> {
        outputs.iter().for_each(|output| output.reset(gpu));
        run();
        outputs.iter().map(|output| output.now(gpu)).collect()
    };
    let first = once();
    let bits =
        |all: &[Vec<f64>]| -> Vec<u64> { all.concat().iter().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(&first), bits(&once()), "the second run differs");
    first
}
