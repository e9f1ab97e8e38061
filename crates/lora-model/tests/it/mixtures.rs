//! What an adapter can train beside a mixture of experts, and how a model that is trained whole is written.
use crate::golden::Golden;
use lora_core::{Adapter, LoraConfig, ModuleKind, TargetModules, Targets};
use lora_model::{Base, FullModel, Fused, Packed, Route};

fn list(names: &[&str]) -> TargetModules {
    TargetModules::List(names.iter().map(|name| (*name).to_owned()).collect())
}

fn regex(pattern: &str) -> TargetModules {
    TargetModules::Regex(pattern.to_owned())
}

/// How many modules carry LoRA, or why none does.
fn targeted(golden: &Golden, targets: TargetModules) -> Result<usize, String> {
    let adapter = Adapter::init(LoraConfig::new(2, 4.0, targets), &golden.base, 1);
    adapter.map(|a| a.modules.len()).map_err(|e| e.to_string())
}

/// A mixture's router and experts are parameters in PEFT: whatever asks for one is refused, in one line with a way out.
#[test]
fn experts_are_no_targets_yet() {
    let golden = Golden::open("qwen3_moe_mixed");
    let modules = lora_model::spec::modules(golden.base.config());
    let parameters: Vec<&str> = modules
        .iter()
        .filter(|m| m.kind == lora_core::ModuleKind::Parameter)
        .map(|m| m.path.as_str())
        .collect();
    let mlp = ["gate_proj", "up_proj", "down_proj"];
    let sparse = |layer: usize| {
        let experts = mlp.map(|name| format!("model.layers.{layer}.mlp.experts.{name}"));
        [
            vec![format!("model.layers.{layer}.mlp.gate")],
            experts.to_vec(),
        ]
        .concat()
    };
    let dense = mlp
        .map(|name| format!("model.layers.1.mlp.{name}"))
        .to_vec();
    assert_eq!(parameters, [sparse(0), dense, sparse(2)].concat());
    for targets in [
        TargetModules::AllLinear,
        list(&["q_proj", "down_proj"]),
        list(&["gate"]),
        list(&["model.layers.1.mlp.up_proj"]),
        regex(r".*_proj"),
        regex(r".*\.mlp\.gate"),
        // PEFT would take it for the name, in all layers.
        regex(r".*layers\.0\..*q_proj"),
        regex(r".*act_fn"),
        list(&["experts"]),
    ] {
        let config = LoraConfig::new(2, 4.0, targets.clone());
        let error = Adapter::init(config, &golden.base, 1)
            .unwrap_err()
            .to_string();
        assert!(!error.contains('\n'), "{targets}: {error}");
    }
    let mut saves = LoraConfig::new(2, 4.0, list(&["q_proj"]));
    saves.modules_to_save = vec!["gate".to_owned()];
    let error = Adapter::init(saves, &golden.base, 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("modules_to_save"), "{error}");
    // The house's sets leave out what can't carry LoRA.
    let all = "all".parse::<Targets>().unwrap().resolve(&modules).unwrap();
    assert_eq!(all, list(&["q_proj", "k_proj", "v_proj", "o_proj"]));
    for targets in [
        list(&["q_proj", "o_proj"]),
        regex(r".*self_attn\.[qv]_proj"),
    ] {
        assert!(Adapter::init(LoraConfig::new(2, 4.0, targets), &golden.base, 1).is_ok());
    }
}

/// The names of transformers 5's modules decide, not those in the files.
#[test]
fn targets_of_a_mixtral_are_those_of_its_modules() {
    let golden = Golden::open("mixtral_windows");
    let modules = lora_model::spec::modules(golden.base.config());
    let parameters = modules.iter().filter(|m| m.kind == ModuleKind::Parameter);
    let first: Vec<&str> = parameters.map(|m| m.path.as_str()).take(4).collect();
    let own = [
        "mlp.gate",
        "mlp.experts.w1",
        "mlp.experts.w3",
        "mlp.experts.w2",
    ];
    assert_eq!(first, own.map(|name| format!("model.layers.0.{name}")));
    for targets in [
        TargetModules::AllLinear,
        list(&["q_proj", "w1", "w3"]),
        list(&["gate"]),
        regex(r".*mlp\.gate"),
        regex(r".*(q_proj|w2)"),
    ] {
        let error = targeted(&golden, targets.clone()).unwrap_err();
        assert!(error.contains("mixture of experts"), "{targets}: {error}");
    }
    // As PEFT 0.21 has it: there is no gate_proj.
    assert_eq!(targeted(&golden, regex(r".*(self_attn|mlp).*_proj")), Ok(8));
    let absent = targeted(&golden, list(&["q_proj", "gate_proj"])).unwrap_err();
    assert!(
        absent.contains("`gate_proj` is not in this model"),
        "{absent}"
    );
}

/// PEFT 0.21 has no names for what Granite's files held: `all-linear` is the attention, and modules can't carry LoRA.
#[test]
fn targets_of_a_granite_are_its_linear_layers() {
    let golden = Golden::open("granitemoe_multipliers");
    assert_eq!(targeted(&golden, TargetModules::AllLinear), Ok(8));
    assert_eq!(targeted(&golden, regex(r".*(self_attn|moe).*_proj")), Ok(8));
    let absent = targeted(&golden, list(&["q_proj", "input_linear"])).unwrap_err();
    assert!(
        absent.contains("`input_linear` is not in this model"),
        "{absent}"
    );
    for targets in [
        list(&["router"]),
        list(&["q_proj", "experts"]),
        regex(r".*block_sparse_moe.*"),
    ] {
        let error = targeted(&golden, targets.clone()).unwrap_err();
        assert!(error.contains("can't carry LoRA"), "{targets}: {error}");
    }
    let mut saves = LoraConfig::new(2, 4.0, list(&["q_proj"]));
    saves.modules_to_save = vec!["router".to_owned()];
    let error = Adapter::init(saves, &golden.base, 1).unwrap_err();
    assert!(error.to_string().contains("modules_to_save"), "{error}");
}

/// transformers opens stacks alone.
#[test]
fn a_granite_that_is_trained_whole_is_written_with_stacks() {
    let golden = Golden::open("granitemoe_multipliers");
    let folder = tempfile::tempdir().unwrap();
    let config = golden.base.config().clone();
    let model = FullModel::random(config, 5).unwrap();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/golden/granitemoe_multipliers/base/config.json");
    std::fs::copy(source, folder.path().join("config.json")).unwrap();
    for bf16 in [false, true] {
        model.save(folder.path(), bf16).unwrap();
        let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let stack = file.tensor("model.layers.1.block_sparse_moe.input_linear.weight");
        assert_eq!(stack.unwrap().shape(), [5, 24, 36]);
        let base = Base::open(folder.path()).unwrap();
        for (name, _, place) in &model.tensors {
            let read = base.checkpoint().tensor(name).unwrap().to_f32();
            let rounded = |&v: &f32| {
                if bf16 {
                    half::bf16::from_f32(v).to_f32()
                } else {
                    v
                }
            };
            let own: Vec<f32> = model.params[place.clone()].iter().map(rounded).collect();
            assert_eq!(read, own, "{name}");
        }
    }
}

/// A pass that follows another's experts goes where that went: its own choice gives the same bits, another's other logits.
#[test]
fn experts_of_another_pass_are_followed() {
    for name in [
        "qwen3_moe_experts",
        "qwen3_moe_mixed",
        "olmoe_experts",
        "mixtral_windows",
    ] {
        let golden = Golden::open(name);
        let mut fused = Fused::new(&golden.base, 2).unwrap();
        let vocabulary = golden.base.config().vocab_size as u32;
        let ids: Vec<u32> = (0..24).map(|i| (7 * i + 3) % vocabulary).collect();
        let packed = Packed::from_rows([(&ids[..], &[lora_model::IGNORE; 24][..])]);
        let adapter = Some(&golden.adapter);
        let plain = fused.logits(None, &packed).unwrap();
        let (adapted, chosen) = fused.logits_by_experts(adapter, &packed, None).unwrap();
        assert_eq!(adapted, fused.logits(adapter, &packed).unwrap(), "{name}");
        let (again, own) = fused
            .logits_by_experts(adapter, &packed, Some(&chosen))
            .unwrap();
        assert_eq!((&again, &own), (&adapted, &chosen), "{name}");
        let (sent, own) = fused
            .logits_by_experts(None, &packed, Some(&chosen))
            .unwrap();
        let elsewhere = own.tokens_elsewhere(&chosen);
        assert!((1..=ids.len()).contains(&elsewhere), "{name}: {elsewhere}");
        assert_ne!(sent, plain, "{name}");
        // What was followed once is forgotten.
        assert_eq!(fused.logits(None, &packed).unwrap(), plain, "{name}");
    }
}
