//! Widened blocks are what candle reads, which has its own reading of llama.cpp's formats; and what the formats' definitions
//! say of blocks written by hand.
use crate::support::{Matrix, PLACES, each_precision, noise, rounded, twice};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Shape};
use half::f16;
use lora_gpu::{Dtype, Widen};
use std::borrow::Cow;

const KINDS: [(Widen, GgmlDType); 9] = [
    (Widen::F32, GgmlDType::F32),
    (Widen::F16, GgmlDType::F16),
    (Widen::Bf16, GgmlDType::BF16),
    (Widen::Q4_0, GgmlDType::Q4_0),
    (Widen::Q4_1, GgmlDType::Q4_1),
    (Widen::Q8_0, GgmlDType::Q8_0),
    (Widen::Q4K, GgmlDType::Q4K),
    (Widen::Q5K, GgmlDType::Q5K),
    (Widen::Q6K, GgmlDType::Q6K),
];

/// Where f16 scales lie in a block of bytes.
fn scales(kind: Widen) -> &'static [usize] {
    match kind {
        Widen::Q4_0 | Widen::Q8_0 => &[0],
        Widen::Q4_1 | Widen::Q4K | Widen::Q5K => &[0, 2],
        Widen::Q6K => &[208],
        _ => &[],
    }
}

/// Blocks of any bytes whose scales and values are numbers.
fn blocks(kind: Widen, count: usize) -> Vec<u8> {
    let (_, size) = kind.block();
    let mut bytes: Vec<u8> = noise(11, count * size)
        .iter()
        .map(|v| ((v + 1.0) * 128.0) as u8)
        .collect();
    for (i, block) in bytes.chunks_mut(size).enumerate() {
        let number = noise(i as u64, 2);
        for (&at, number) in scales(kind).iter().zip(number) {
            // Every seventh scale is subnormal.
            let number = if i % 7 == 3 { number * 5e-5 } else { number };
            block[at..at + 2].copy_from_slice(&f16::from_f64(number).to_le_bytes());
        }
        match kind {
            Widen::F32 => block.copy_from_slice(&(noise(i as u64, 1)[0] as f32).to_le_bytes()),
            Widen::F16 => {
                block.copy_from_slice(&f16::from_f64(noise(i as u64, 1)[0]).to_le_bytes())
            }
            Widen::Bf16 => {
                let value = half::bf16::from_f64(noise(i as u64, 1)[0]);
                block.copy_from_slice(&value.to_le_bytes());
            }
            _ => {}
        }
    }
    bytes
}

fn candle(kind: GgmlDType, bytes: &[u8], shape: (usize, usize)) -> Vec<f32> {
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, kind).expect("blocks");
    let tensor = QTensor::new(storage, Shape::from(shape)).expect("a tensor");
    let values = tensor.dequantize(&Device::Cpu).expect("values");
    values
        .flatten_all()
        .expect("one row")
        .to_vec1()
        .expect("f32")
}

#[test]
fn blocks_are_widened_as_candle_does() {
    each_precision(|gpu| {
        for (kind, ggml) in KINDS {
            let (values, size) = kind.block();
            for (rows, per_row) in [(3, 2), (1, 1), (2, 577)] {
                if per_row > 10 && values > 1 {
                    continue;
                }
                let columns = values * per_row;
                let bytes = blocks(kind, rows * per_row);
                let wide = candle(ggml, &bytes, (rows, columns));
                for place in PLACES {
                    for first in [0, 1, 32] {
                        let all = [&vec![0xee; first], &bytes[..], &[0xee; 5]].concat();
                        let tensor = gpu.uploaded(Dtype::U8, &all).expect("there is memory");
                        let to = Matrix::unwritten(gpu, gpu.dtype(), (rows, columns), place);
                        let found = twice(gpu, &[&to], || {
                            gpu.widen(kind, &tensor, first, to.mat()).expect("it fits");
                        });
                        let expected: Vec<f64> = wide
                            .iter()
                            .map(|&v| rounded(gpu.dtype(), f64::from(v)))
                            .collect();
                        assert_eq!(found[0], expected, "{kind:?} of {size} bytes");
                    }
                }
            }
        }
    });
}

#[test]
fn every_half_is_widened() {
    let gpu = lora_gpu::OnCpu::gpu(lora_gpu::Precision::F32);
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
    let tensor = gpu.uploaded(Dtype::U8, &bytes).expect("there is memory");
    for (kind, wide) in [
        (
            Widen::F16,
            (|h| f16::from_bits(h).to_f32()) as fn(u16) -> f32,
        ),
        (Widen::Bf16, |h| half::bf16::from_bits(h).to_f32()),
    ] {
        let to = gpu.activations(1 << 16).expect("there is memory");
        gpu.widen(kind, &tensor, 0, to.mat(64, 1024))
            .expect("it fits");
        let mut found = vec![0f32; 1 << 16];
        gpu.download(&to, &mut found).expect("the CPU copies");
        for (&half, found) in halves.iter().zip(found) {
            let expected = wide(half);
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "{kind:?} {half:#06x}: {found} instead of {expected}"
            );
        }
    }
}

#[test]
fn a_block_of_q4_k_is_its_definition() {
    // d = 2, dmin = 0.5; the scale of part 5 is 0b10_0011 = 35, its minimum 0b01_0100 = 20; value 7 of it is 9.
    let mut block = vec![0u8; 144];
    block[..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
    block[4 + 9] = 0b0100_0011; // low 4 bits of minimum and scale
    block[4 + 1] = 0b1000_0000; // high 2 bits of the scale
    block[4 + 5] = 0b0100_0000; // of the minimum
    block[16 + 2 * 32 + 7] = 9 << 4; // part 5 is the high half of the third 32 bytes
    each_precision(|gpu| {
        let tensor = gpu.uploaded(Dtype::U8, &block).expect("there is memory");
        let to = Matrix::unwritten(gpu, gpu.dtype(), (1, 256), PLACES[0]);
        gpu.widen(Widen::Q4K, &tensor, 0, to.mat())
            .expect("it fits");
        let found = to.now(gpu);
        assert_eq!(found[5 * 32 + 7], 2.0 * 35.0 * 9.0 - 0.5 * 20.0);
        assert_eq!(found[5 * 32 + 8], -0.5 * 20.0);
        assert_eq!(found[4 * 32 + 7], 0.0);
    });
}

/// What the format's definition says of every byte and every exponent that is a number.
#[test]
fn blocks_of_mxfp4_are_their_definition() {
    const VALUES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let value = |code: u8| {
        let sign = if code & 8 == 0 { 1.0 } else { -1.0 };
        sign * VALUES[usize::from(code & 7)]
    };
    let codes = |e: u8, j: u8| e.wrapping_mul(31).wrapping_add(j.wrapping_mul(17));
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for e in 0..255u8 {
        let scale = (f64::from(e) - 127.0).exp2();
        bytes.push(e);
        bytes.extend((0..16).map(|j| codes(e, j)));
        expected.extend((0..16).map(|j| value(codes(e, j) & 15) * scale));
        expected.extend((0..16).map(|j| value(codes(e, j) >> 4) * scale));
    }
    each_precision(|gpu| {
        let tensor = gpu.uploaded(Dtype::U8, &bytes).expect("there is memory");
        let to = Matrix::unwritten(gpu, gpu.dtype(), (85, 3 * 32), PLACES[1]);
        let found = twice(gpu, &[&to], || {
            gpu.widen(Widen::Mxfp4, &tensor, 0, to.mat())
                .expect("it fits");
        });
        let expected: Vec<f64> = expected.iter().map(|&v| rounded(gpu.dtype(), v)).collect();
        assert_eq!(found[0], expected);
    });
}
