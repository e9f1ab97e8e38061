//! Inputs of layers: a norm of each layer's part, and rows of a table beside it.
use crate::support::{
    Matrix, Place, assert_close, assert_near, differences, download, each_case, largest, noise,
    twice, upload_u32, vector,
};
use lora_gpu::{Dtype, Gpu, TableRows, Tensor, Write};

const EPS: f32 = 1e-5;
const SCALE: f32 = 1.7;
const FACTOR: f32 = 0.6;
const LAYERS: usize = 3;
/// Rows of the table.
const IDS: usize = 9;

/// e of all rows, and rstd.
fn reference(x: &[f64], gamma: &[f64], looked_up: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut e, mut rstd) = (Vec::new(), Vec::new());
    let parts = x.chunks(gamma.len()).zip(looked_up.chunks(gamma.len()));
    for (x, row) in parts {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let r = 1.0 / (mean + f64::from(EPS)).sqrt();
        let own = x.iter().zip(gamma).map(|(x, g)| g * x * r);
        let sum = own.zip(row).map(|(n, row)| n + f64::from(SCALE) * row);
        e.extend(sum.map(|sum| f64::from(FACTOR) * sum));
        rstd.push(r);
    }
    (e, rstd)
}

/// What a check works on.
struct Case<'g> {
    gpu: &'g Gpu,
    place: Place,
    x: Matrix,
    weight: Tensor,
    gamma: Vec<f64>,
    rows: usize,
    width: usize,
}

fn each_input(check: impl Fn(&Case<'_>)) {
    each_case(|gpu, rows, width, place| {
        let values: Vec<f64> = noise(7, width).iter().map(|v| 1.0 + v).collect();
        let (weight, gamma) = vector(gpu, &values);
        let shape = (rows, LAYERS * width);
        check(&Case {
            gpu,
            place,
            x: Matrix::noise(gpu, gpu.dtype(), shape, place, (1, 3.0)),
            weight,
            gamma,
            rows,
            width,
        });
    });
}

impl Case<'_> {
    /// e and rstd, of rows that are looked up.
    fn run(&self, rows: TableRows<'_>) -> [Vec<f64>; 2] {
        let shape = (self.rows, LAYERS * self.width);
        let e = Matrix::unwritten(self.gpu, self.gpu.dtype(), shape, self.place);
        let rstd = self.gpu.alloc(Dtype::F32, self.rows * LAYERS);
        let rstd = rstd.expect("there is memory");
        let found = twice(self.gpu, &[&e], || {
            let norm = (&self.weight, EPS);
            let to = (e.mat(), &rstd);
            self.gpu
                .layer_inputs(self.x.mat(), norm, rows, FACTOR, to)
                .expect("it fits");
        });
        [found[0].clone(), download(self.gpu, &rstd)]
    }
}

#[test]
fn rows_of_a_table_join_what_is_normalised() {
    each_input(|case| {
        let (gpu, columns) = (case.gpu, LAYERS * case.width);
        let of_table = Matrix::noise(gpu, gpu.dtype(), (IDS, columns), case.place, (2, 1.0));
        let ids: Vec<u32> = (0..case.rows as u32).map(|i| (i * 5 + 2) % 9).collect();
        let row = |&id: &u32| &of_table.values[id as usize * columns..][..columns];
        let looked_up: Vec<f64> = ids.iter().flat_map(row).copied().collect();
        let (expected, expected_rstd) = reference(&case.x.values, &case.gamma, &looked_up);
        let by_ids = case.run(TableRows {
            table: of_table.mat(),
            ids: Some(&upload_u32(gpu, &ids)),
            scale: SCALE,
        });
        assert_near(
            "e",
            gpu.dtype(),
            &by_ids[0],
            &expected,
            1e-6 * largest(&expected),
        );
        assert_close("rstd", Dtype::F32, &by_ids[1], &expected_rstd, 1e-6);
        let shape = (case.rows, columns);
        let widened = Matrix::new(gpu, gpu.dtype(), shape, case.place, &looked_up);
        let in_order = case.run(TableRows {
            table: widened.mat(),
            ids: None,
            scale: SCALE,
        });
        assert_eq!(in_order, by_ids);
    });
}

/// As the route goes back: the factor first, then through the norm, in place.
#[test]
fn the_gradient_is_the_difference() {
    each_input(|case| {
        let (gpu, width) = (case.gpu, case.width);
        let shape = (case.rows, LAYERS * width);
        let de = Matrix::noise(gpu, gpu.dtype(), shape, case.place, (3, 1.0));
        let row = Matrix::noise(gpu, gpu.dtype(), shape, case.place, (2, 1.0));
        let [_, rstd] = case.run(TableRows {
            table: row.mat(),
            ids: None,
            scale: SCALE,
        });
        let (rstd_tensor, _) = vector(gpu, &rstd);
        gpu.convert(de.mat(), FACTOR, de.mat()).expect("it fits");
        let scaled = de.now(gpu); // rounded once
        let (x, gamma) = (case.x.mat(), &case.weight);
        gpu.norm_backward(x, gamma, &rstd_tensor, de.mat(), de.mat(), Write::Replace)
            .expect("it fits");
        let found = de.now(gpu);
        for (part, r) in rstd.iter().enumerate() {
            let range = part * width..(part + 1) * width;
            let (x, d) = (&case.x.values[range.clone()], &scaled[range.clone()]);
            let d: Vec<f64> = d.iter().map(|d| d / f64::from(FACTOR)).collect();
            let row = &row.values[range.clone()];
            let expected = differences(x, &d, |x| reference(x, &case.gamma, row).0);
            let noise = 2e-6 * r * largest(&case.gamma) * largest(&d);
            assert_near("dx", gpu.dtype(), &found[range], &expected, noise);
        }
    });
}
