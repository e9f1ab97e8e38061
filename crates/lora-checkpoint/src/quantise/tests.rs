//! Blocks against llama.cpp's own (`tests/fixtures/make_blocks.py` made the hashes, of the same values), and the law that
//! makes importance worth its name.
use super::{overflow, rows};
use crate::blocks::widen;
use crate::save::GgufDtype;
use crate::storage::StorageDtype;
use candle_core::quantized::GgmlDType;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const ROWS: usize = 16;
const COLUMNS: usize = 768;
const ALL: [GgufDtype; 11] = [
    GgufDtype::Q4_0,
    GgufDtype::Q4_1,
    GgufDtype::Q5_0,
    GgufDtype::Q5_1,
    GgufDtype::Q8_0,
    GgufDtype::Q2K,
    GgufDtype::Q3K,
    GgufDtype::Q4K,
    GgufDtype::Q5K,
    GgufDtype::Q6K,
    GgufDtype::Mxfp4,
];

/// 24 bits each of a linear congruential generator, as whole numbers.
fn uniform(count: usize, mut state: u64) -> impl Iterator<Item = f32> {
    (0..count).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32
    })
}

/// Values of many sizes; zeros, constants, one sign alone.
fn values() -> Vec<f32> {
    let mut x: Vec<f32> = uniform(ROWS * COLUMNS, 1)
        .map(|u| u / 8_388_608.0 - 1.0)
        .map(|x| x * x * x)
        .collect();
    for (row, x) in x.chunks_exact_mut(COLUMNS).enumerate() {
        let scales = [1.0, 0.05, 1e-3, 1e-5, 1e-7, 1e-9, 1000.0];
        for (column, x) in x.iter_mut().enumerate() {
            *x = match row {
                0..=6 => *x * scales[row],
                7 => 0.0,
                8 => 1.5,
                9 => -0.25,
                10 => x.abs(),
                11 => -x.abs(),
                12 if column % 2 == 0 => 0.0,
                13 if (100..500).contains(&column) => 0.0,
                14 => x.signum(),
                15 => *x * 1e-6 + 1.0,
                _ => *x,
            };
        }
    }
    x
}

fn importance() -> Vec<f32> {
    uniform(COLUMNS, 2)
        .map(|u| u / 16_777_216.0)
        .map(|u| u * u)
        .collect()
}

fn quantised(dtype: StorageDtype, x: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let (values, bytes) = dtype.unit();
    let mut out = vec![0; x.len() / values * bytes];
    rows(dtype, x, COLUMNS, importance, &mut out);
    out
}

#[test]
fn blocks_are_llama_cpps_byte_for_byte() {
    let table: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../tests/fixtures/blocks.json")).unwrap();
    assert_eq!(table.len(), 2 * ALL.len());
    let (x, weights) = (values(), importance());
    for dtype in ALL {
        for (suffix, importance) in [("", None), (" weighted", Some(weights.as_slice()))] {
            let blocks = quantised(dtype.storage(), &x, importance);
            let name = format!("{}{suffix}", dtype.name());
            assert_eq!(
                format!("{:x}", Sha256::digest(&blocks)),
                table[&name],
                "{name}"
            );
        }
    }
}

#[test]
fn importance_moves_the_error_to_where_it_weighs_less() {
    let (x, weights) = (values(), importance());
    let x = &x[..2 * COLUMNS];
    let weighted_error = |dtype: StorageDtype, blocks: &[u8]| {
        let mut back = vec![0.0; x.len()];
        widen(dtype, blocks, &mut back);
        let columns = weights.iter().cycle();
        let errors = x.iter().zip(&back).zip(columns);
        errors
            .map(|((a, b), w)| f64::from(w * (a - b) * (a - b)))
            .sum::<f64>()
    };
    for dtype in ALL.map(GgufDtype::storage) {
        let plain = weighted_error(dtype, &quantised(dtype, x, None));
        let weighted = weighted_error(dtype, &quantised(dtype, x, Some(&weights)));
        let is_worth_it = match dtype {
            // ggml knows no importance there
            StorageDtype::Quantised(GgmlDType::Q8_0) | StorageDtype::Mxfp4 => weighted == plain,
            _ => weighted < plain,
        };
        assert!(is_worth_it, "{dtype:?}: {weighted} against {plain}");
    }
}

#[test]
fn a_scale_that_f16_cannot_hold_is_found() {
    let mut x = vec![1.0; COLUMNS];
    x[700] = 1e9;
    for dtype in ALL.map(GgufDtype::storage) {
        let found = overflow(dtype, &quantised(dtype, &x, None));
        let expected = match dtype {
            StorageDtype::Mxfp4 => None, // whose scales are powers of two
            _ => Some(700 / dtype.unit().0),
        };
        assert_eq!(found, expected, "{dtype:?}");
        assert_eq!(overflow(dtype, &quantised(dtype, &x[..0], None)), None);
    }
}
