//! Layers that keep a state on a GPU beside the CPU's: sequences of several chunks, which no golden case has, packed and alone;
//! texts that go on; bases in blocks.
use crate::golden::Golden;
use crate::gpu::device;
use crate::gpu_beside_cpu::{check_adapter, check_beside_the_cpu, lora_on_some, plain_lora};
use crate::gpu_mixtures::{OF_32, in_blocks};
use lora_checkpoint::{GgufDtype, Projection};
use lora_gpu::Precision;
use lora_model::{Base, Fused, Generate as _, OnGpu, Packed};

/// A case of each kind of such layers, and of Mamba-2 beside attention.
const CASES: [&str; 4] = [
    "lfm2_mixed",
    "granitemoehybrid_mamba",
    "falcon_h1_multipliers",
    "qwen3_5_grouped",
];

/// Tokens that depend on a seed alone.
pub(crate) fn tokens(base: &Base, count: usize, seed: u32) -> Vec<u32> {
    let vocabulary = base.config().vocab_size as u32;
    let id = |i: u32| (3 + seed + i * (7 + seed)) % vocabulary;
    (0..count as u32).map(id).collect()
}

/// Sequences of these lengths, all of whose tokens are supervised.
pub(crate) fn packed(base: &Base, lengths: &[usize]) -> Packed {
    let rows: Vec<Vec<u32>> = lengths
        .iter()
        .zip(0..)
        .map(|(&n, seed)| tokens(base, n, seed))
        .collect();
    let labels: Vec<Vec<i32>> = rows
        .iter()
        .map(|row| row.iter().map(|&id| id as i32).collect())
        .collect();
    Packed::from_rows(
        rows.iter()
            .zip(&labels)
            .map(|(row, labels)| (&row[..], &labels[..])),
    )
}

#[test]
fn sequences_of_several_chunks_are_the_cpus() {
    for case in CASES {
        let base = Golden::open(case).base;
        for lengths in [&[150][..], &[20, 129, 1, 64, 70]] {
            check_beside_the_cpu(&base, &packed(&base, lengths), case, |_| ());
        }
    }
}

#[test]
fn texts_of_several_chunks_go_on_as_on_the_cpu() {
    for case in CASES {
        let base = Golden::open(case).base;
        let adapter = plain_lora(&base);
        let prompts = [130, 5, 63, 64].map(|n| tokens(&base, n, 1));
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let mut fused = Fused::new(&base, 2).unwrap();
        let expected = fused.generate(Some(&adapter), &prompts, 6, &[]).unwrap();
        let mut route = OnGpu::new(&base, device(Precision::F32), Some(&adapter)).unwrap();
        let found = route.generate(Some(&adapter), &prompts, 6, &[]).unwrap();
        assert_eq!(found, expected, "{case}");
        assert!(expected.iter().all(|text| text.len() == 6));
    }
}

/// Of Falcon-H1 a file has the factors in its weights. What decay is made of has no LoRA here: random weights leave e⁻¹⁰ of a
/// state from one token to the next, so that its gradient is little more than what rounding leaves of others.
#[test]
fn linear_layers_in_blocks_are_widened_as_on_the_cpu() {
    for case in CASES {
        let (_folder, base) = in_blocks(case, GgufDtype::Q8_0, OF_32);
        let rows = packed(&base, &[70, 9]);
        let adapter = match base.config().delta {
            Some(_) => lora_on_some(&base, |projection| projection != Projection::DeltaA),
            None => plain_lora(&base),
        };
        check_adapter(&base, (&adapter, &rows, None), case, |route| {
            assert!(route.holds_blocks(), "{case}");
        });
    }
}
