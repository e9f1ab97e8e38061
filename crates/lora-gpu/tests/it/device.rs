//! What the device reports, and its products.
use crate::support::{
    Matrix, PLACES, Place, assert_close, download, each_precision, noise, upload,
};
use lora_gpu::{Arg, Batch, Device, Dtype, Error, Gpu, Grid, Memory, OnCpu, Precision, Product};

const ONE: Grid = Grid {
    blocks: [1, 1, 1],
    threads: 64,
};

fn device() -> (OnCpu, Memory) {
    let device = OnCpu::new(Precision::Bf16);
    let memory = device.alloc(64 * 4).expect("there is memory");
    (device, memory)
}

fn launch(kernel: &'static str, args: &[Arg]) -> Result<(), String> {
    let (device, memory) = device();
    let args = [&[Arg::Address(memory.address)], args].concat();
    let result = device.launch(kernel, ONE, &args);
    result.map_err(|error| error.to_string())
}

#[test]
fn a_barrier_that_not_all_threads_reach_is_reported() {
    assert_eq!(
        launch("faulty_barrier", &[]),
        Err(
            "the GPU failed to launch faulty_barrier: threads of block (0, 0, 0) wait for each other in vain: of 64, 32 are \
             at __syncthreads, 0 at an exchange within their warp, 32 have ended"
                .to_owned()
        )
    );
    assert!(launch("faulty_exchange", &[]).is_err_and(|e| e.contains("7 at an exchange")));
    // The device goes on after it.
    let gpu = OnCpu::gpu(Precision::Bf16);
    let values = upload(&gpu, Dtype::F32, &[1.0, 2.0]);
    gpu.convert(values.mat(1, 2), 3.0, values.mat(1, 2))
        .expect("it goes on");
    assert_eq!(download(&gpu, &values), [3.0, 6.0]);
}

#[test]
fn a_write_beyond_an_allocation_is_reported() {
    assert_eq!(launch("faulty_end", &[Arg::Int(63)]), Ok(()));
    assert!(
        launch("faulty_end", &[Arg::Int(64)])
            .is_err_and(|e| e.contains("wrote beyond the 256 bytes"))
    );
}

#[test]
fn arguments_of_other_types_are_reported() {
    for args in [&[][..], &[Arg::Long(1)], &[Arg::Int(1), Arg::Int(1)]] {
        assert!(
            launch("faulty_end", args).is_err_and(|e| e.contains("it takes arguments pi, not p"))
        );
    }
    assert!(launch("no_such_kernel", &[]).is_err_and(|e| e.contains("there is no such kernel")));
}

#[test]
fn shared_memory_that_was_not_written_is_nan() {
    let (device, memory) = device();
    for kernel in ["faulty_shared", "faulty_race"] {
        device
            .launch(kernel, ONE, &[Arg::Address(memory.address)])
            .expect("nobody waits");
        let mut bytes = [0; 256];
        device
            .download(memory.address, &mut bytes)
            .expect("the CPU copies");
        let values: &[f32] = bytemuck::cast_slice(&bytes);
        assert!(values.iter().any(|v| v.is_nan()), "{kernel}: {values:?}");
    }
}

#[test]
fn memory_is_counted_and_holds_nan() {
    let gpu = Gpu::new(OnCpu::with_memory(Precision::F32, 1000), Precision::F32);
    let first = gpu.alloc(Dtype::F32, 150).expect("there is memory");
    assert!(download(&gpu, &first).iter().all(|v| v.is_nan()));
    assert_eq!(gpu.free_memory().expect("it is known"), 400);
    assert!(matches!(
        gpu.alloc(Dtype::F32, 101),
        Err(Error::Memory {
            asked: 404,
            free: 400,
            total: 1000
        })
    ));
    drop(first);
    assert_eq!(gpu.free_memory().expect("it is known"), 1000);
    gpu.alloc(Dtype::F32, 250).expect("there is memory again");
}

#[test]
fn copies_outside_of_allocations_are_refused() {
    let (device, memory) = device();
    assert!(device.zero(memory.address, 256).is_ok());
    assert!(device.zero(memory.address, 257).is_err());
    assert!(device.zero(memory.address + 256, 1).is_err());
    assert!(device.upload(&[0; 8], memory.address + 250).is_err());
    assert!(device.copy(memory.address - 1, memory.address, 4).is_err());
}

/// op(a) · op(b) of dense matrices, their shapes as they lie.
fn product(
    a: &Matrix,
    ta: bool,
    b: &Matrix,
    tb: bool,
    (m, n, k): (usize, usize, usize),
) -> Vec<f64> {
    let at = |matrix: &Matrix, transposed: bool, i: usize, j: usize| {
        let (i, j) = if transposed { (j, i) } else { (i, j) };
        matrix.values[i * matrix.columns + j]
    };
    let mut c = Vec::new();
    for i in 0..m {
        for j in 0..n {
            c.push((0..k).map(|l| at(a, ta, i, l) * at(b, tb, l, j)).sum());
        }
    }
    c
}

#[test]
fn products_of_any_layout_are_right() {
    each_precision(|gpu| {
        let (m, n, k) = (5, 7, 33);
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            for (place, beta) in PLACES.into_iter().zip([0.0f32, 1.0, 0.5, 0.0]) {
                for to in [gpu.dtype(), Dtype::F32] {
                    let shape = |t: bool, a: usize, b: usize| if t { (b, a) } else { (a, b) };
                    let a = Matrix::noise(gpu, gpu.dtype(), shape(ta, m, k), place, (1, 1.0));
                    let b = Matrix::noise(gpu, gpu.dtype(), shape(tb, k, n), place, (2, 1.0));
                    let c = if beta == 0.0 {
                        Matrix::unwritten(gpu, to, (m, n), place)
                    } else {
                        Matrix::noise(gpu, to, (m, n), place, (3, 1.0))
                    };
                    let mut product_of = Product::new(
                        if ta { a.mat().t() } else { a.mat().n() },
                        if tb { b.mat().t() } else { b.mat().n() },
                        c.mat(),
                    )
                    .times(0.25);
                    product_of.beta = beta;
                    gpu.gemm(product_of).expect("it fits");
                    let expected: Vec<f64> = product(&a, ta, &b, tb, (m, n, k))
                        .iter()
                        .zip(&c.values)
                        .map(|(p, c)| {
                            0.25 * p
                                + if beta == 0.0 {
                                    0.0
                                } else {
                                    f64::from(beta) * c
                                }
                        })
                        .collect();
                    assert_close("product", to, &c.now(gpu), &expected, 1e-6);
                }
            }
        }
    });
}

#[test]
fn a_batch_is_its_products() {
    each_precision(|gpu| {
        let (m, n, k, count) = (3, 4, 5, 3);
        let dense = Place {
            offset: 0,
            padding: 0,
        };
        let a = Matrix::new(
            gpu,
            gpu.dtype(),
            (count * m, k),
            dense,
            &noise(1, count * m * k),
        );
        let b = Matrix::new(gpu, gpu.dtype(), (k, n), dense, &noise(2, k * n));
        let c = Matrix::unwritten(gpu, Dtype::F32, (count * m, n), dense);
        let product_of = Product::new(
            a.mat().of_rows(0..m).n(),
            b.mat().n(),
            c.mat().of_rows(0..m),
        );
        let batch = Batch {
            count,
            a: m * k,
            b: 0,
            c: m * n,
        };
        gpu.gemm_batched(product_of, batch).expect("it fits");
        let expected = product(&a, false, &b, false, (count * m, n, k));
        assert_close("batch", Dtype::F32, &c.now(gpu), &expected, 1e-6);
    });
}
