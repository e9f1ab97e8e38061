//! The route on a GPU against the golden cases: on the CPU's stand-in for one, and, where `LORA_TEST_DEVICE` is `cuda`, on the
//! card that is there.
use crate::checks;
use crate::golden::{self, CASES, Golden};
use lora_checkpoint::{Error, Mixer, SaveDtype, TensorView, save_folder};
use lora_core::Adapter;
use lora_gpu::{Gpu, OnCpu, Precision};
use lora_model::{Base, Dropout, Fused, Generate as _, OnGpu, Route};

pub(crate) fn device(precision: Precision) -> Gpu {
    match std::env::var("LORA_TEST_DEVICE").as_deref() {
        Ok("cuda") => lora_gpu::cuda(0, precision).unwrap(),
        _ => Gpu::new(OnCpu::new(precision), precision),
    }
}

/// Cases that the route refuses, and what it names.
pub(crate) const REFUSED: [(&str, &str); 49] = [
    ("qwen3_modules_to_save", "which trains as a whole"),
    ("bias_all", "which trains as a whole"),
    ("bias_lora_only", "which trains as a whole"),
    ("embed_head_tied", "LoRA on model.embed_tokens"),
    ("embed_head_dora", "LoRA on model.embed_tokens"),
    ("save_embed_norms", "which trains as a whole"),
    ("save_linear_head_tied", "which trains as a whole"),
    ("pissa_dora", "LoRA on lm_head"),
    ("saved_bias_all", "which trains as a whole"),
    ("starcoder2_biases", "which trains as a whole"),
    ("starcoder2_norms", "which trains as a whole"),
    ("cohere2_norms", "which trains as a whole"),
    ("qwen3_moe_mixed", "which trains as a whole"),
    ("olmoe_tied", "which trains as a whole"),
    ("mixtral_tied", "which trains as a whole"),
    ("granitemoe_untied", "which trains as a whole"),
    ("gpt_oss_mxfp4", "which trains as a whole"),
    (
        "qwen3_5_grouped",
        "layers that keep a state, which qwen3_5_text has",
    ),
    (
        "qwen3_5_recurrent",
        "layers that keep a state, which qwen3_5_text has",
    ),
    ("lfm2_mixed", "layers that keep a state, which lfm2 has"),
    ("lfm2_tied", "layers that keep a state, which lfm2 has"),
    (
        "lfm2_moe_biased",
        "layers that keep a state, which lfm2_moe has",
    ),
    (
        "lfm2_moe_scaled",
        "layers that keep a state, which lfm2_moe has",
    ),
    (
        "granitemoehybrid_mamba",
        "layers that keep a state, which granitemoehybrid has",
    ),
    (
        "granitemoehybrid_limits",
        "layers that keep a state, which granitemoehybrid has",
    ),
    (
        "granitemoehybrid_experts",
        "layers that keep a state, which granitemoehybrid has",
    ),
    (
        "granitemoeshared_norms",
        "experts beside an MLP of all tokens, which granitemoeshared has",
    ),
    (
        "falcon_h1_multipliers",
        "layers that keep a state, which falcon_h1 has",
    ),
    (
        "falcon_h1_tied",
        "layers that keep a state, which falcon_h1 has",
    ),
    (
        "falcon_h1_biases",
        "layers that keep a state, which falcon_h1 has",
    ),
    ("gemma4_shared", "values with a norm of their own"),
    ("gemma4_keys_as_values", "values with a norm of their own"),
    ("gemma4_per_layer", "values with a norm of their own"),
    ("tokens_tied", "trainable_token_indices"),
    ("tokens_untied", "trainable_token_indices"),
    ("tokens_added_tied", "trainable_token_indices"),
    ("tokens_added_untied", "trainable_token_indices"),
    ("saved_resized", "which trains as a whole"),
    ("parameters_all", "LoRA on model.layers.0.mlp."),
    ("parameters_gate_up", "LoRA on model.layers.0.mlp."),
    (
        "parameters_down",
        "LoRA on model.layers.1.mlp.experts.down_proj",
    ),
    ("parameters_converted", "LoRA on model.layers.0.mlp."),
    (
        "parameters_stacked",
        "LoRA on model.layers.0.block_sparse_moe.",
    ),
    ("balance_parameters", "LoRA on model.layers.0.mlp."),
    ("parameters_turned", "LoRA on model.layers.0.mlp."),
    ("parameters_mxfp4", "LoRA on model.layers.0.mlp."),
    (
        "parameters_beside",
        "layers that keep a state, which granitemoehybrid has",
    ),
    (
        "parameters_sigmoid",
        "layers that keep a state, which lfm2_moe has",
    ),
    (
        "balance_shared",
        "experts beside an MLP of all tokens, which granitemoeshared has",
    ),
];

fn is_refused(name: &str) -> bool {
    REFUSED.iter().any(|(refused, _)| *refused == name)
}

/// Runs a check on every case that is not refused.
fn everywhere(precision: Precision, check: impl Fn(&Golden, &mut OnGpu<'_>)) {
    let mut checked = 0;
    for name in CASES.into_iter().filter(|name| !is_refused(name)) {
        let golden = Golden::open(name);
        let gpu = device(precision);
        let mut route = OnGpu::new(&golden.base, gpu, Some(&golden.adapter)).unwrap();
        check(&golden, &mut route);
        checked += 1;
    }
    assert_eq!(checked, CASES.len() - REFUSED.len());
}

#[test]
fn what_it_does_not_compute_is_refused_by_name() {
    for (name, what) in REFUSED {
        let golden = Golden::open(name);
        let gpu = device(Precision::F32);
        let refused = OnGpu::new(&golden.base, gpu, Some(&golden.adapter)).unwrap_err();
        assert!(refused.to_string().contains(what), "{name}: {refused}");
    }
}

/// Such a model without convolutions, of which nothing else would be refused.
#[test]
fn experts_scored_by_sigmoids_are_refused_by_name() {
    let mut config = Golden::open("lfm2_moe_biased").base.config().clone();
    for layer in &mut config.layers {
        layer.mixer = Mixer::Attention;
    }
    config.short_conv = None;
    let refused = OnGpu::check_decoder(&config).unwrap_err().to_string();
    assert!(
        refused.contains("experts that are scored by sigmoids"),
        "{refused}"
    );
}

#[test]
fn in_f32_it_gives_pefts_logits() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_logits(golden, route);
    });
}

#[test]
fn in_f32_it_gives_pefts_loss_and_every_gradient() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_gradients(golden, route);
    });
}

#[test]
fn in_f32_it_follows_pefts_adamw_trajectory() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_trajectory(golden, route);
    });
}

#[test]
fn it_packs_without_cross_talk() {
    everywhere(Precision::F32, |golden, route| {
        checks::check_packing(golden, route);
    });
}

#[test]
fn it_survives_edges() {
    everywhere(Precision::Bf16, |golden, route| {
        checks::check_edges(golden, route);
    });
}

/// Gradients, with what each case's loss is beside them.
fn gradients(golden: &Golden, route: &mut dyn Route, dropout: Option<Dropout>) -> (f64, Vec<f32>) {
    let mut flat = vec![0.0; golden.adapter.params.len()];
    let losses = route
        .gradients(&golden.adapter, &golden.packed, dropout, 1.0, &mut flat)
        .unwrap();
    (golden::mean(&losses), flat)
}

const DROPOUT: Dropout = Dropout {
    p: 0.3,
    seed: 7,
    step: 3,
};

#[test]
fn its_dropout_is_the_cpus() {
    everywhere(Precision::F32, |golden, route| {
        let mut fused = Fused::new(&golden.base, 2).unwrap();
        let (a, ours) = gradients(golden, route, Some(DROPOUT));
        let (b, cpus) = gradients(golden, &mut fused, Some(DROPOUT));
        assert!((a / b - 1.0).abs() < 1e-5, "loss {a} and {b}");
        let largest = cpus.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(golden::largest_difference(&ours, &cpus) <= 1e-4 * largest);
    });
}

#[test]
fn layers_that_are_computed_again_give_the_same_bits_and_so_does_a_second_run() {
    everywhere(Precision::Bf16, |golden, _| {
        for dropout in [None, Some(DROPOUT)] {
            let route = |kept| {
                let route = OnGpu::new(&golden.base, device(Precision::Bf16), None).unwrap();
                route.with_kept_layers(kept)
            };
            let mut all = route(usize::MAX);
            let first = gradients(golden, &mut all, dropout);
            assert_eq!(
                gradients(golden, &mut all, dropout),
                first,
                "{}",
                golden.name()
            );
            let again = gradients(golden, &mut route(0), dropout);
            assert_eq!(again, first, "{}", golden.name());
        }
    });
}

/// Root of the mean square.
fn rms(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| {
        (sum + f64::from(v) * f64::from(v), count + 1)
    });
    (sum / count.max(1) as f64).sqrt()
}

/// The error that bfloat16 leaves, relative to the root mean square: each of `roundings` that lie on the way adds an
/// independent error of at most 2⁻⁹ of its value (half a unit in the last of 8 places), so that together they are
/// √roundings · 2⁻⁹; twice that is allowed, since the values that are rounded are larger than their sum where signs cancel.
fn of_bf16(roundings: usize) -> f64 {
    2.0 * (roundings as f64).sqrt() / 512.0
}

/// Roundings of a forward pass: in every layer the operands and results of the four groups of linear layers (weights, input,
/// u, output) and of both products of attention, and the normalised and gated values between them; then the head's.
fn roundings(golden: &Golden) -> usize {
    let layer = 4 * 4 + 2 * 2 + 4;
    golden.base.config().num_hidden_layers * layer + 3
}

/// Cases with rows that are left out below, and how many.
const NARROW: [(&str, usize); 2] = [("gpt_oss_sinks", 2), ("balance_biases", 1)];

/// Rows that rounding the base's weights alone moves by more are left out: there an expert is chosen so narrowly that another
/// one is.
#[test]
fn in_bfloat16_it_gives_pefts_logits_within_its_rounding() {
    everywhere(Precision::Bf16, |golden, route| {
        let bound = of_bf16(roundings(golden));
        let found = route.logits(Some(&golden.adapter), &golden.packed).unwrap();
        let expected = golden.logits("logits_adapter");
        let rounded = rounded_base(golden);
        let mut cpu = Fused::new(&rounded, 2).unwrap();
        let moved = cpu.logits(Some(&golden.adapter), &golden.packed).unwrap();
        let v = golden.base.config().vocab_size;
        let rows = 0..golden.packed.tokens();
        let firm = rows.filter(|row| {
            let own = row * v..(row + 1) * v;
            off(&moved[own.clone()], &expected[own]) <= 3.0 * bound
        });
        let firm: Vec<usize> = firm.collect();
        let name = golden.name();
        let narrow = NARROW.iter().find(|(case, _)| *case == name);
        let narrow = narrow.map_or(0, |(_, rows)| *rows);
        assert_eq!(firm.len() + narrow, golden.packed.tokens(), "{name}");
        let of = |all: &[f32]| -> Vec<f32> {
            let rows = firm.iter().flat_map(|row| &all[row * v..(row + 1) * v]);
            rows.copied().collect()
        };
        let off = off(&of(&found), &of(&expected));
        assert!(off <= bound, "{name}: {off:.2e} of {bound:.2e}");
        assert!(off > 0.0, "nothing was rounded");
    });
}

/// Matrices that are rounded: four groups in every layer, and the head.
fn weights(golden: &Golden) -> usize {
    4 * golden.base.config().num_hidden_layers + 1
}

/// A case's base with its weights rounded to bfloat16.
fn rounded_base(golden: &Golden) -> Base {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = golden.base.checkpoint();
    let as_they_are = |_: &TensorView<'_>, _: usize, _: &mut [f32]| Ok::<(), Error>(());
    save_folder(folder.path(), checkpoint, SaveDtype::BF16, as_they_are).unwrap();
    Base::open(folder.path()).unwrap()
}

/// How far each tensor's gradient moves, relative to its root mean square, when the base's weights alone are rounded to
/// bfloat16: what the case makes of such errors, cancellations and all.
fn moved_by_weights(golden: &Golden, exact: &[f32]) -> Vec<f64> {
    let rounded = rounded_base(golden);
    let (_, moved) = gradients(golden, &mut Fused::new(&rounded, 2).unwrap(), None);
    let tensors = golden.adapter.tensors().into_iter();
    tensors
        .map(|tensor| off(&moved[tensor.range.clone()], &exact[tensor.range]))
        .collect()
}

/// Root mean square of the difference, relative to that of `b`.
fn off(a: &[f32], b: &[f32]) -> f64 {
    rms(a.iter().zip(b).map(|(a, b)| a - b)) / rms(b.iter().copied())
}

/// In the backward pass every product has two of its kind, for gradients of the input and of the factors: three times the
/// forward pass' roundings. Rounding the weights of four groups in every layer, and the head's, moves a gradient by so much;
/// all roundings together move it by the root of their number more, if the case is harder than [`of_bf16`] takes it to be.
#[test]
fn in_bfloat16_it_gives_pefts_loss_and_gradients_within_its_rounding() {
    everywhere(Precision::Bf16, |golden, route| {
        let forward = roundings(golden);
        let (loss, found) = gradients(golden, route, None);
        let mut exact = Fused::new(&golden.base, 2).unwrap();
        let (expected_loss, expected) = gradients(golden, &mut exact, None);
        let relative = (loss / expected_loss - 1.0).abs();
        let name = golden.name();
        assert!(relative <= of_bf16(forward), "{name}: loss {relative:.2e}");
        let more = (3.0 * forward as f64 / weights(golden) as f64).sqrt();
        let moved = moved_by_weights(golden, &expected);
        for (tensor, moved) in golden.adapter.tensors().into_iter().zip(moved) {
            let bound = of_bf16(3 * forward).max(2.0 * moved * more);
            let off = off(&found[tensor.range.clone()], &expected[tensor.range]);
            let tensor = tensor.name;
            assert!(off <= bound, "{name} {tensor}: {off:.2e} of {bound:.2e}");
        }
    });
}

#[test]
fn it_continues_texts_as_the_cpu_does() {
    everywhere(Precision::F32, |golden, route| {
        let packed = &golden.packed;
        let starts = packed.starts.windows(2);
        let texts: Vec<&[u32]> = starts.map(|w| &packed.input_ids[w[0]..w[1]]).collect();
        let mut prompts = texts.clone();
        prompts.extend(texts.iter().map(|text| &text[..text.len() / 2 + 1])); // they share their beginnings
        let adapter = Some(&golden.adapter);
        let mut fused = Fused::new(&golden.base, 2).unwrap();
        let expected = fused.generate(adapter, &prompts, 9, &[2]).unwrap();
        assert_eq!(
            route.generate(adapter, &prompts, 9, &[2]).unwrap(),
            expected
        );
        assert!(expected.iter().any(|text| text.len() > 3));
    });
}

#[test]
fn of_two_adapters_of_one_shape_each_takes_its_own_factors_out_of_the_base() {
    let golden = Golden::open("pissa");
    let first = &golden.adapter;
    let mut second = first.clone();
    let origin = second.origin.as_mut().unwrap();
    origin.iter_mut().for_each(|value| *value *= 1.5);
    let logits = |route: &mut OnGpu<'_>, adapter: &Adapter| {
        route.logits(Some(adapter), &golden.packed).unwrap()
    };
    let fresh = || OnGpu::new(&golden.base, device(Precision::F32), Some(first)).unwrap();
    let expected = logits(&mut fresh(), &second);
    let mut route = fresh();
    assert_ne!(logits(&mut route, first), expected);
    assert_eq!(logits(&mut route, &second), expected);
}
