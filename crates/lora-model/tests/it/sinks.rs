//! gpt-oss: what an adapter can train beside its experts, and which of its biases.
use crate::golden::{Golden, list, targeted};
use lora_core::{Bias, LoraConfig, TargetModules};

/// PEFT 0.21 has the experts' tensors as parameters of one module, the router's as those of another.
#[test]
fn targets_of_a_gpt_oss_are_its_linear_layers() {
    let golden = Golden::open("gpt_oss_sinks");
    let with = |targets| targeted(&golden, LoraConfig::new(2, 4.0, targets));
    assert_eq!(with(TargetModules::AllLinear), Ok(12));
    assert_eq!(with(list(&["q_proj", "o_proj"])), Ok(6));
    for absent in ["gate_up_proj", "down_proj", "gate_proj", "sinks"] {
        let error = with(list(&["q_proj", absent])).unwrap_err();
        assert!(error.contains("is not in this model"), "{error}");
    }
    for frozen in [list(&["router"]), list(&["q_proj", "experts"])] {
        let error = with(frozen).unwrap_err();
        assert!(error.contains("can't carry LoRA"), "{error}");
    }
}

/// Their own names stand for parameters, those of their biases for nothing that can carry LoRA.
#[test]
fn parameters_of_its_experts_are_named_as_peft_names_them() {
    let golden = Golden::open("gpt_oss_sinks");
    let with = |name: &str| {
        let mut config = LoraConfig::new(2, 4.0, list(&["q_proj"]));
        config.target_parameters = Some(vec![name.to_owned()]);
        targeted(&golden, config)
    };
    for name in ["mlp.experts.gate_up_proj", "down_proj", "mlp.router.weight"] {
        assert_eq!(with(name), Ok(6), "{name}");
    }
    for (name, reason) in [
        (
            "mlp.experts.gate_up_proj_bias",
            "is of model.layers.0.mlp.experts, whose",
        ),
        ("gate_proj", "is not in this model"),
    ] {
        let error = with(name).unwrap_err();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

/// PEFT's `bias="all"` trains every parameter whose name holds the word: those of router and experts, too.
#[test]
fn biases_of_router_and_experts_do_not_train() {
    let golden = Golden::open("gpt_oss_sinks");
    let with = |bias| {
        let mut config = LoraConfig::new(2, 4.0, list(&["q_proj"]));
        config.bias = bias;
        targeted(&golden, config)
    };
    assert_eq!(with(Bias::LoraOnly), Ok(3));
    let error = with(Bias::All).unwrap_err();
    assert!(error.contains("mlp.router"), "{error}");
}
