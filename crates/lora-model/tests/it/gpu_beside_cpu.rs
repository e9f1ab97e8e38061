//! The route on a GPU beside the CPU's where no golden case says what is right: plain LoRA on the decoders of cases in which
//! other things train, and bases in blocks.
use crate::golden::{self, Golden};
use crate::gpu::device;
use lora_checkpoint::{Checkpoint, Error, GgufDtype, ModelConfig, Projection, save_gguf};
use lora_core::{Adapter, Bias, Init, LoraConfig, TargetModules};
use lora_gpu::Precision;
use lora_model::{Base, Dropout, Fused, OnGpu, Packed, Route};

/// LoRA on all linear layers of a base, with B that is not zero; of one with experts on those that are of no MLP.
pub(crate) fn plain_lora(base: &Base) -> Adapter {
    match base.config().experts {
        None => lora_on(base, TargetModules::AllLinear),
        Some(_) => lora_on_some(base, |projection| !projection.is_of_mlp()),
    }
}

/// The same on some linear layers.
pub(crate) fn lora_on_some(base: &Base, is: impl Fn(Projection) -> bool) -> Adapter {
    let shape = base.config();
    let all = (0..shape.num_hidden_layers).flat_map(|layer| {
        let own = shape.projections_of(layer).into_iter();
        own.map(move |projection| (projection, layer))
    });
    let all = all.filter(|(projection, _)| is(*projection));
    let paths: Vec<String> = all.map(|(p, layer)| shape.path(p, layer)).collect();
    let names: Vec<&str> = paths.iter().map(String::as_str).collect();
    lora_on(base, golden::list(&names))
}

pub(crate) fn lora_on(base: &Base, targets: TargetModules) -> Adapter {
    let config = LoraConfig::new(4, 8.0, targets);
    let mut adapter = Adapter::init(config, base, 3).unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += 0.02 * (i as f32 * 0.37).sin();
    }
    adapter
}

/// The same with DoRA, whose magnitudes are not the norms that they began as.
fn dora(base: &Base, init: Init) -> Adapter {
    let plain = plain_lora(base);
    let config = LoraConfig {
        use_dora: true,
        init,
        ..plain.config
    };
    let mut adapter = Adapter::init(config, base, 3).unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += 0.02 * (i as f32 * 0.37).sin();
    }
    adapter
}

/// The same with biases that train: the base's own, and those on B.
fn biased(base: &Base) -> Adapter {
    let plain = plain_lora(base);
    let config = LoraConfig {
        bias: Bias::LoraOnly,
        lora_bias: true,
        ..plain.config
    };
    let mut adapter = Adapter::init(config, base, 3).unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += 0.02 * (i as f32 * 0.37).sin();
    }
    adapter
}

/// That the route's loss and gradients in f32 are the CPU's.
pub(crate) fn check_beside_the_cpu(
    base: &Base,
    packed: &Packed,
    what: &str,
    also: impl Fn(&OnGpu<'_>),
) {
    let adapter = plain_lora(base);
    check_adapter(base, (&adapter, packed, None), what, also);
}

/// The same for an adapter, with dropout or without.
pub(crate) fn check_adapter(
    base: &Base,
    (adapter, packed, dropout): (&Adapter, &Packed, Option<Dropout>),
    what: &str,
    also: impl Fn(&OnGpu<'_>),
) {
    let compute = |route: &mut dyn Route| {
        let mut flat = vec![0.0; adapter.params.len()];
        let losses = route
            .gradients(adapter, packed, dropout, 0.1, &mut flat)
            .unwrap();
        (golden::mean(&losses), flat)
    };
    let (expected_loss, expected) = compute(&mut Fused::new(base, 2).unwrap());
    let mut route = OnGpu::new(base, device(Precision::F32), Some(adapter)).unwrap();
    also(&route);
    let (loss, found) = compute(&mut route);
    let off = (loss / expected_loss - 1.0).abs();
    assert!(off <= 1e-4, "{what}: {loss} {expected_loss}");
    for tensor in adapter.tensors() {
        let (found, expected) = (&found[tensor.range.clone()], &expected[tensor.range]);
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = golden::largest_difference(found, expected);
        let tensor = tensor.name;
        assert!(off <= 1e-4 * largest, "{what} {tensor}: {off} of {largest}");
    }
}

const DROPOUT: Dropout = Dropout {
    p: 0.3,
    seed: 7,
    step: 3,
};

/// DoRA on what was taken out of the base and on plain factors, with dropout and without, where biases, norms of outputs and
/// parallel blocks are, too.
#[test]
fn with_dora_it_computes_what_the_cpu_does() {
    for name in [
        "pissa_dora",
        "qwen2_bias_all_linear",
        "gemma2_capped",
        "cohere2_norms",
        "phi3_fused",
        "granite_multipliers",
        "lfm2_tied",
        "granitemoehybrid_limits",
        "falcon_h1_tied",
        "qwen3_5_recurrent",
        "gemma4_shared",
        "gemma4_keys_as_values",
    ] {
        let golden = Golden::open(name);
        for init in [Init::Kaiming, Init::Pissa(None)] {
            if name == "qwen3_5_recurrent" && init != Init::Kaiming {
                continue; // a linear layer has fewer outputs than PiSSA takes directions
            }
            let adapter = dora(&golden.base, init);
            for dropout in [None, Some(DROPOUT)] {
                let run = (&adapter, &golden.packed, dropout);
                check_adapter(&golden.base, run, name, |_| ());
            }
        }
    }
}

/// Where q, k and v have biases, where others have them or none has, where outputs are normalised or multiplied, where no MLP has
/// a gate, and where layers have inputs.
#[test]
fn with_biases_that_train_it_computes_what_the_cpu_does() {
    for name in [
        "qwen2_bias_all_linear",
        "seed_oss_biases",
        "gemma2_capped",
        "granite_multipliers",
        "starcoder2_biases",
        "phi3_fused",
        "gpt_oss_sinks",
        "gemma4_per_layer",
    ] {
        let golden = Golden::open(name);
        let adapter = biased(&golden.base);
        for dropout in [None, Some(DROPOUT)] {
            let run = (&adapter, &golden.packed, dropout);
            check_adapter(&golden.base, run, name, |_| ());
        }
    }
}

/// Plain LoRA beside modules that train as a whole.
pub(crate) fn saving(base: &Base, modules_to_save: Vec<String>) -> Adapter {
    let plain = plain_lora(base);
    let config = LoraConfig {
        modules_to_save,
        ..plain.config
    };
    let mut adapter = Adapter::init(config, base, 3).unwrap();
    for (i, value) in adapter.params.iter_mut().enumerate() {
        *value += 0.02 * (i as f32 * 0.37).sin();
    }
    adapter
}

/// The paths of all norms of a base.
fn norms(config: &ModelConfig) -> Vec<String> {
    let kinds = config.facts().norms;
    let layers = (0..config.num_hidden_layers).flat_map(|layer| {
        let paths = kinds
            .iter()
            .map(move |(norm, _)| config.norm_path(layer, *norm));
        paths.flatten()
    });
    layers
        .chain([config.facts().last_norm.to_owned()])
        .collect()
}

/// All norms: of inputs, of outputs, of heads before and after their rotary embedding, with 1 added to what files hold, of a
/// parallel block, of the inputs of layers. The base alone is itself again afterwards.
#[test]
fn with_norms_that_train_it_computes_what_the_cpu_does() {
    for name in [
        "gemma2_capped",
        "gemma3_text",
        "olmo2_norms_after",
        "hunyuan_alpha",
        "cohere2_parallel",
        "starcoder2_norms",
        "granitemoe_multipliers",
        "gemma4_shared",
        "gemma4_keys_as_values",
        "gemma4_per_layer",
    ] {
        let golden = Golden::open(name);
        let base = &golden.base;
        let adapter = saving(base, norms(base.config()));
        for dropout in [None, Some(DROPOUT)] {
            let run = (&adapter, &golden.packed, dropout);
            check_adapter(base, run, name, |_| ());
        }
        let mut route = OnGpu::new(base, device(Precision::F32), Some(&adapter)).unwrap();
        let alone = route.logits(None, &golden.packed).unwrap();
        assert_ne!(route.logits(Some(&adapter), &golden.packed).unwrap(), alone);
        assert_eq!(route.logits(None, &golden.packed).unwrap(), alone);
    }
}

/// Decoders of cases in which other things train.
#[test]
fn with_plain_lora_it_computes_what_the_cpu_does() {
    for name in [
        "embed_head_tied",
        "embed_head_dora",
        "save_linear_head_tied",
        "pissa_dora",
        "saved_bias_all",
        "tokens_tied",
        "tokens_added_untied",
    ] {
        let golden = Golden::open(name);
        check_beside_the_cpu(&golden.base, &golden.packed, name, |_| ());
    }
}

/// A base whose weights stay blocks on the device: what the CPU makes of the same file.
#[test]
fn a_quantised_base_is_widened_as_on_the_cpu() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/tiny-chat");
    let folder = tempfile::tempdir().unwrap();
    let model = Checkpoint::open(root.as_ref()).unwrap();
    let ids: Vec<u32> = (0..40).map(|i| 5 + i * 13 % 200).collect();
    let labels: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let packed = Packed::from_rows([
        (&ids[..25], &labels[..25]),
        (&ids[25..], &labels[25..]),
        (&ids[..30], &labels[..30]),
    ]);
    for dtype in [GgufDtype::Q8_0, GgufDtype::Q4_0] {
        let path = folder.path().join("model.gguf");
        save_gguf(&path, &model, dtype, "m", |_| Ok::<(), Error>(())).unwrap();
        let base = Base::open(&path).unwrap();
        let holds_blocks = |route: &OnGpu<'_>| assert!(route.holds_blocks());
        check_beside_the_cpu(&base, &packed, "blocks", holds_blocks);
        let adapter = dora(&base, Init::Kaiming);
        for dropout in [None, Some(DROPOUT)] {
            let run = (&adapter, &packed, dropout);
            check_adapter(&base, run, "DoRA on blocks", holds_blocks);
        }
        let saved = saving(&base, vec!["embed_tokens".to_owned(), "lm_head".to_owned()]);
        check_adapter(
            &base,
            (&saved, &packed, None),
            "tables beside blocks",
            holds_blocks,
        );
        let run = (&biased(&base), &packed, None);
        check_adapter(&base, run, "biases beside blocks", holds_blocks);
    }
}
