//! Layers that keep a state: what an adapter can train in them.
use crate::golden::{Golden, list, targeted};
use lora_core::{Bias, LoraConfig, TargetModules};

#[test]
fn targets_of_mamba_are_its_linear_layers() {
    let golden = Golden::open("granitemoehybrid_mamba");
    let with = |targets| targeted(&golden, LoraConfig::new(2, 4.0, targets));
    // Two layers of Mamba-2 with two linear layers each, one with attention's four, and two in each MLP.
    assert_eq!(with(TargetModules::AllLinear), Ok(14));
    assert_eq!(with(list(&["in_proj", "out_proj"])), Ok(4));
    assert_eq!(with(list(&["input_linear", "output_linear"])), Ok(6));
    for (name, said) in [
        ("conv1d", "conv1d"),
        ("gate_proj", "is not in this model"),
        ("A_log", "is not in this model"),
    ] {
        let error = with(list(&["in_proj", name])).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

/// PEFT refuses LoRA on `out_proj` of such a model by its name, since transformers' fast way through Mamba-2 passes over it.
#[test]
fn the_output_of_mamba_beside_attention_carries_no_lora() {
    let golden = Golden::open("falcon_h1_multipliers");
    let with = |targets| targeted(&golden, LoraConfig::new(2, 4.0, targets));
    // In each of two layers attention's four, what Mamba-2 reads, and three in the MLP.
    assert_eq!(with(TargetModules::AllLinear), Ok(16));
    let error = with(list(&["in_proj", "out_proj"])).unwrap_err();
    assert!(
        error.contains("mamba.out_proj is a linear layer that PEFT puts no LoRA on"),
        "{error}"
    );
}

/// PEFT's `bias="all"` trains every parameter whose name holds the word: that of steps, and a convolution's.
#[test]
fn biases_of_steps_do_not_train() {
    for (case, of) in [
        ("granitemoehybrid_mamba", "mamba.conv1d"),
        ("granitemoehybrid_limits", "mamba.dt_bias"),
        ("qwen3_5_recurrent", "linear_attn.dt_bias"),
    ] {
        let golden = Golden::open(case);
        let mut config = LoraConfig::new(2, 4.0, list(&["out_proj"]));
        config.bias = Bias::All;
        let error = targeted(&golden, config).unwrap_err();
        assert!(
            error.contains("bias all takes in those of") && error.contains(of),
            "{error}"
        );
    }
}
