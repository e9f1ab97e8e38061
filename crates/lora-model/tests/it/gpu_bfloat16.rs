//! The route on a GPU in bfloat16: within what its rounding makes of each golden case. Tokens go to the experts that the exact
//! model chose, for near a tie rounding decides: what it moves the choice by has a bound of its own.
use crate::golden::Golden;
use crate::gpu::{device, everywhere, gradients, route};
use lora_checkpoint::{Error, SaveDtype, StorageDtype, TensorView, save_folder};
use lora_gpu::Precision;
use lora_model::{Base, ChosenExperts, Fused, OnGpu};

/// Root of the mean square.
fn rms(values: impl Iterator<Item = f32>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| {
        (sum + f64::from(v) * f64::from(v), count + 1)
    });
    (sum / count.max(1) as f64).sqrt()
}

/// Root mean square of the difference, relative to that of `b`.
fn off(a: &[f32], b: &[f32]) -> f64 {
    rms(a.iter().zip(b).map(|(a, b)| a - b)) / rms(b.iter().copied())
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

/// Matrices that are rounded: four groups in every layer, and the head.
fn weights(golden: &Golden) -> usize {
    4 * golden.base.config().num_hidden_layers + 1
}

/// What rounding may move a value by that rounding the weights of four groups in every layer, and the head's, moves by `moved`:
/// so many roundings in all move it by the root of their number more, if the case is harder than [`of_bf16`] takes it to be.
fn bound(golden: &Golden, roundings: usize, moved: f64) -> f64 {
    let more = (roundings as f64 / weights(golden) as f64).sqrt();
    of_bf16(roundings).max(2.0 * moved * more)
}

/// The grid of bfloat16's values over one of these is another one: weights that lie on its own are rounded, too. What a gate's
/// limit makes of rounding shows on some of them alone.
const GRIDS: [f32; 4] = [1.2, 1.4, 1.6, 1.8];

/// The nearest value with 8 places on a grid.
fn rounded(value: f32, grid: f32) -> f32 {
    let bits = (value * grid).to_bits();
    let even = bits >> 16 & 1;
    f32::from_bits((bits + 0x7fff + even) & 0xffff_0000) / grid
}

/// A case's base with its weights rounded to 8 places, as bfloat16 has them.
fn rounded_base(golden: &Golden, grid: f32) -> Base {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = golden.base.checkpoint();
    let round = |view: &TensorView<'_>, _: usize, values: &mut [f32]| {
        if view.dtype() == StorageDtype::Mxfp4Apart {
            return Ok::<(), Error>(()); // bfloat16 holds their values
        }
        values
            .iter_mut()
            .for_each(|value| *value = rounded(*value, grid));
        Ok(())
    };
    save_folder(folder.path(), checkpoint, SaveDtype::F32, round).unwrap();
    Base::open(folder.path()).unwrap()
}

/// The experts that tokens choose in f32 on the CPU.
fn exact_choice(golden: &Golden) -> ChosenExperts {
    let mut exact = Fused::new(&golden.base, 2).unwrap();
    let found = exact.logits_by_experts(Some(&golden.adapter), &golden.packed, None);
    found.unwrap().1
}

#[test]
fn it_gives_pefts_logits_within_its_rounding() {
    everywhere(Precision::Bf16, |golden, route| {
        let bound = of_bf16(roundings(golden));
        let chosen = exact_choice(golden);
        let found = route.logits_by_experts(Some(&golden.adapter), &golden.packed, Some(&chosen));
        let off = off(&found.unwrap().0, &golden.logits("logits_adapter"));
        let name = golden.name();
        assert!(off <= bound, "{name}: {off:.2e} of {bound:.2e}");
        assert!(off > 0.0, "nothing was rounded");
    });
}

/// Where it would send a token to other experts than the exact model, the exact model's lead so little that rounding turns it:
/// by how much they lead moves by no more than rounding the weights alone makes plausible.
#[test]
fn its_rounding_moves_the_choice_of_experts_no_further_than_that_of_weights() {
    let (mut layers, mut elsewhere) = (0, 0);
    everywhere_with_experts(|golden| {
        let (adapter, packed) = (Some(&golden.adapter), &golden.packed);
        let exact = exact_choice(golden);
        let mut bf16 = route(golden, Precision::Bf16);
        let found = bf16.logits_by_experts(adapter, packed, Some(&exact));
        let found = found.unwrap().1;
        let moved = GRIDS.map(|grid| {
            let rounded = rounded_base(golden, grid);
            let mut rounded = Fused::new(&rounded, 2).unwrap();
            let moved = rounded.logits_by_experts(adapter, packed, Some(&exact));
            moved.unwrap().1
        });
        for layer in 0..golden.base.config().num_hidden_layers {
            let leads = exact.leads(layer);
            if leads.is_empty() {
                continue;
            }
            let moved = over_grids(moved.each_ref().map(|moved| off(moved.leads(layer), leads)));
            let bound = bound(golden, roundings(golden), moved);
            let off = off(found.leads(layer), leads);
            let name = golden.name();
            assert!(off <= bound, "{name} {layer}: {off:.2e} of {bound:.2e}");
            layers += 1;
        }
        for (layer, token) in found.elsewhere(&exact) {
            assert!(found.leads(layer)[token] <= 0.0);
            elsewhere += 1;
        }
    });
    assert!(layers > 10, "{layers} layers");
    assert!(elsewhere > 0, "no choice was narrow");
}

/// Runs a check on every case with experts that is not refused.
fn everywhere_with_experts(mut check: impl FnMut(&Golden)) {
    everywhere(Precision::F32, |golden, _| {
        if golden.base.config().experts.is_some() {
            check(golden);
        }
    });
}

/// Root mean square of what was found on each grid.
fn over_grids(found: [f64; GRIDS.len()]) -> f64 {
    (found.iter().map(|off| off * off).sum::<f64>() / GRIDS.len() as f64).sqrt()
}

/// How far each tensor's gradient moves, relative to its root mean square, when the base's weights alone are rounded: what the
/// case makes of such errors, cancellations and all.
fn moved_by_weights(golden: &Golden, chosen: &ChosenExperts, exact: &[f32]) -> Vec<f64> {
    let moved = GRIDS.map(|grid| {
        let rounded = rounded_base(golden, grid);
        let route = OnGpu::new(&rounded, device(Precision::F32), Some(&golden.adapter)).unwrap();
        gradients(golden, &mut route.following(chosen.clone()), None).1
    });
    let tensors = golden.adapter.tensors().into_iter();
    tensors
        .map(|tensor| {
            let own =
                |all: &Vec<f32>| off(&all[tensor.range.clone()], &exact[tensor.range.clone()]);
            over_grids(moved.each_ref().map(own))
        })
        .collect()
}

/// In the backward pass every product has two of its kind, for gradients of the input and of the factors: three times the
/// forward pass' roundings.
#[test]
fn it_gives_pefts_loss_and_gradients_within_its_rounding() {
    everywhere(Precision::F32, |golden, _| {
        let forward = roundings(golden);
        let chosen = exact_choice(golden);
        let mut following = route(golden, Precision::Bf16).following(chosen.clone());
        let (loss, found) = gradients(golden, &mut following, None);
        let mut exact = Fused::new(&golden.base, 2).unwrap();
        let (expected_loss, expected) = gradients(golden, &mut exact, None);
        let relative = (loss / expected_loss - 1.0).abs();
        let name = golden.name();
        assert!(relative <= of_bf16(forward), "{name}: loss {relative:.2e}");
        let moved = moved_by_weights(golden, &chosen, &expected);
        for (tensor, moved) in golden.adapter.tensors().into_iter().zip(moved) {
            let bound = bound(golden, 3 * forward, moved);
            let off = off(&found[tensor.range.clone()], &expected[tensor.range]);
            let tensor = tensor.name;
            assert!(off <= bound, "{name} {tensor}: {off:.2e} of {bound:.2e}");
        }
    });
}
