//! LoRA on experts and routers (`target_parameters`): names, files, and what is refused.
use crate::golden::{CASES, Golden};
use lora_core::{
    Adapter, BaseModel as _, CONFIG_FILE, Combination, LoraConfig, Parameters, TargetModules,
    WEIGHTS_FILE, combine, diff,
};
use lora_model::spec::{part_of, parts_in};
use lora_model::{Fused, Route as _};
use std::collections::BTreeSet;

/// The golden cases with such adapters.
fn cases() -> Vec<Golden> {
    let own = CASES.iter().filter(|case| case.starts_with("parameters_"));
    let all: Vec<Golden> = own.map(|case| Golden::open(case)).collect();
    assert_eq!(all.len(), 9);
    all
}

fn named(golden: &Golden, text: &str) -> Result<Vec<String>, String> {
    let parameters = text.parse::<Parameters>().map_err(|e| e.to_string())?;
    let found = parameters.resolve(&golden.base.modules());
    found.map_err(|e| e.to_string())
}

/// A config of rank 2 on these parameters alone.
fn on(parameters: &[&str]) -> LoraConfig {
    let mut config = LoraConfig::new(2, 4.0, TargetModules::List(Vec::new()));
    config.target_parameters = Some(parameters.iter().map(|&name| name.to_owned()).collect());
    config
}

/// Our tensor file is PEFT's to the byte, and as long as was said before.
#[test]
fn golden_adapters_are_written_back_unchanged() {
    for golden in cases() {
        for (folder, adapter) in [
            ("adapter", golden.adapter.clone()),
            ("adapter_trained", golden.trained()),
        ] {
            let own = tempfile::tempdir().unwrap();
            adapter.save(own.path()).unwrap();
            let theirs = golden.folder(folder);
            let [ours, pefts] =
                [own.path(), &theirs].map(|f| std::fs::read(f.join(WEIGHTS_FILE)).unwrap());
            assert!(ours == pefts, "{} {folder}", golden.name());
            let layout = adapter.config.layout(&golden.base.modules()).unwrap();
            assert_eq!(layout.file_bytes(), ours.len() as u64);
            let config = LoraConfig::load(&own.path().join(CONFIG_FILE)).unwrap();
            assert_eq!(config, adapter.config);
        }
    }
}

#[test]
fn words_are_the_models_own_names() {
    let golden = Golden::open("parameters_all");
    let experts = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"];
    assert_eq!(named(&golden, "experts").unwrap(), experts);
    assert_eq!(named(&golden, "router, experts, router").unwrap().len(), 3);
    assert_eq!(named(&golden, "router").unwrap(), ["mlp.gate.weight"]);
    let granite = Golden::open("parameters_stacked");
    let router = ["block_sparse_moe.router.weight"];
    assert_eq!(named(&granite, "router").unwrap(), router);
    let turned = Golden::open("parameters_turned");
    assert_eq!(named(&turned, "experts").unwrap(), experts);
    assert_eq!(named(&turned, "router").unwrap(), ["mlp.router.weight"]);
    let dense = Golden::open("llama_gqa_tied");
    let refused = named(&dense, "experts").unwrap_err();
    assert!(
        refused.contains("`experts` is not in this model"),
        "{refused}"
    );
    assert!("".parse::<Parameters>().is_err());
}

/// Each weight of a router or an expert is in one parameter, and those of a parameter's first expert are found by its name.
#[test]
fn weights_and_parameters_find_each_other() {
    for golden in cases() {
        let config = golden.base.config();
        let mut values = 0;
        for (name, shape) in config.weights() {
            let Some(part) = part_of(config, &name) else {
                let is_bias = name.ends_with("bias");
                assert!(is_bias || !name.contains("experts"), "{name}");
                continue;
            };
            assert_eq!(part.rows.len(), shape[0], "{name}");
            values += shape.iter().product::<usize>();
            let own = parts_in(config, &part.path).unwrap();
            let is_there = own
                .iter()
                .any(|(first, rows)| *rows == part.rows && (part.expert > 0 || *first == name));
            assert!(is_there, "{name}: {own:?}");
        }
        let modules = golden.base.modules();
        let own = modules.iter().filter(|m| m.is_of_mixture());
        let all: usize = own
            .map(|m| m.weight_shape().iter().product::<usize>())
            .sum();
        assert_eq!(values, all, "{}", golden.name());
    }
    let config = Golden::open("parameters_all").base.config().clone();
    for other in [
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.0.mlp.experts.6.gate_proj.weight",
        "model.layers.9.mlp.gate.weight",
        "model.layers.0.self_attn.q_proj.weight",
    ] {
        assert_eq!(part_of(&config, other), None, "{other}");
    }
}

#[test]
fn a_new_adapter_is_the_identity() {
    for golden in cases() {
        let names = named(&golden, "experts,router").unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut adapter = Adapter::init(on(&names), &golden.base, 3).unwrap();
        let layers = (0..golden.base.config().num_hidden_layers)
            .filter(|&layer| golden.base.config().experts_of(layer).is_some());
        assert_eq!(adapter.modules.len(), 3 * layers.count());
        let mut route = Fused::new(&golden.base, 2).unwrap();
        let plain = route.logits(None, &golden.packed).unwrap();
        assert_eq!(route.logits(Some(&adapter), &golden.packed).unwrap(), plain);
        // Each expert begins with an A of its own.
        let module = adapter
            .modules
            .iter()
            .find(|m| m.experts().is_some())
            .unwrap();
        let each = module.rank * module.in_features;
        let starts: BTreeSet<u32> = adapter.params[module.a.clone()]
            .chunks(each)
            .map(|a| a[0].to_bits())
            .collect();
        assert_eq!(Some(starts.len()), module.experts());
        let bound = 1.0 / (module.in_features as f32).sqrt();
        assert!(
            adapter.params[module.a.clone()]
                .iter()
                .all(|a| a.abs() <= bound)
        );
        let b = module.b.start;
        adapter.params[b..].iter_mut().for_each(|v| *v += 0.1);
        assert_ne!(route.logits(Some(&adapter), &golden.packed).unwrap(), plain);
    }
}

/// A change of a config, and a part of what is said of it.
type Refused<'c> = (&'c dyn Fn(&mut LoraConfig), &'c str);

#[test]
fn what_peft_refuses_is_refused() {
    let golden = Golden::open("parameters_all");
    let refusal = |change: &dyn Fn(&mut LoraConfig)| {
        let mut config = on(&["mlp.experts.down_proj"]);
        change(&mut config);
        let refused = Adapter::init(config, &golden.base, 1)
            .unwrap_err()
            .to_string();
        assert!(!refused.contains('\n'), "{refused}");
        refused
    };
    let cases: [Refused<'_>; 5] = [
        (&|c| c.lora_dropout = 0.1, "lora_dropout 0.1"),
        (&|c| c.use_dora = true, "use_dora"),
        (&|c| c.lora_bias = true, "lora_bias"),
        (
            &|c| c.init = lora_core::Init::Olora,
            "init_lora_weights \"olora\"",
        ),
        (
            &|c| c.target_parameters = Some(vec!["experts.up_proj".to_owned()]),
            "`experts.up_proj` is not in this model",
        ),
    ];
    for (change, what) in cases {
        let refused = refusal(change);
        assert!(refused.contains(what), "{refused}");
    }
    // A layer's own linear module has another way.
    let linear = refusal(&|c| c.target_parameters = Some(vec!["q_proj.weight".to_owned()]));
    assert!(linear.contains("is a linear layer's"), "{linear}");
    let nothing = refusal(&|c| c.target_parameters = None);
    assert!(nothing.contains("no module is targeted"), "{nothing}");
    // An expression's names are those of linear layers.
    let mut config = on(&["mlp.experts.down_proj"]);
    config.target_modules = TargetModules::Regex(r".*self_attn\.[qv]_proj".to_owned());
    let adapter = Adapter::init(config, &golden.base, 1).unwrap();
    assert_eq!(adapter.modules.len(), 2 * 3 + 2);
    // To PEFT they are no modules, whatever expression or exclusion there is beside them.
    let mut config = on(&["mlp.gate.weight"]);
    config.exclude_modules = Some("gate.weight".parse().unwrap());
    assert_eq!(
        Adapter::init(config, &golden.base, 1)
            .unwrap()
            .modules
            .len(),
        2
    );
    let mut config = on(&["mlp.gate.weight"]);
    config.target_modules = TargetModules::List(vec!["q_proj".to_owned()]);
    config.layers_to_transform = vec![0];
    let adapter = Adapter::init(config.clone(), &golden.base, 1).unwrap();
    assert_eq!(adapter.modules.len(), 1 + 2);
    let refused = config.require_effect(&golden.base.modules()).unwrap_err();
    assert!(
        refused.to_string().contains("layers_to_transform"),
        "{refused}"
    );
}

/// A file and a config that are not of one adapter.
#[test]
fn no_factor_is_passed_over() {
    let golden = Golden::open("parameters_all");
    let change = |from: &str, to: &str| {
        let folder = tempfile::tempdir().unwrap();
        golden.adapter.save(folder.path()).unwrap();
        let path = folder.path().join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        Adapter::load(folder.path(), &golden.base).map_err(|e| e.to_string())
    };
    let without = change("\"mlp.gate.weight\"", "\"mlp.experts.gate_up_proj\"").unwrap_err();
    assert!(
        without.contains("mlp.gate.lora_A.weight belongs to nothing"),
        "{without}"
    );
    // gate_up alone would have down's name.
    let without = change("\"mlp.experts.down_proj\"", "\"mlp.gate.weight\"").unwrap_err();
    assert!(without.contains("mlp.experts."), "{without}");
    let none = change(
        "\"target_parameters\": [",
        "\"velora_config\": null, \"_\": [",
    )
    .unwrap_err();
    assert!(none.contains("belongs to nothing"), "{none}");
    let absent = change("\"mlp.gate.weight\"", "\"mlp.router.weight\"").unwrap_err();
    assert!(absent.contains("belongs to nothing"), "{absent}");
    let broken = change(
        "\"target_parameters\": [",
        "\"target_parameters\": \"experts\", \"_\": [",
    )
    .unwrap_err();
    assert!(broken.contains("target_parameters"), "{broken}");
    // Another number of experts.
    let other = Golden::open("parameters_converted");
    let refused = Adapter::load(&golden.folder("adapter"), &other.base).unwrap_err();
    assert!(!refused.to_string().contains('\n'), "{refused}");
}

/// ‖ΔW‖² is the sum over the experts, and what can't be added is refused.
#[test]
fn adapters_are_compared_expert_by_expert() {
    for golden in cases() {
        let mut both = [golden.adapter.clone(), golden.trained()];
        // A norm that trains, a bias: what is no product of low rank is not compared.
        both.iter_mut().for_each(|adapter| adapter.trained.clear());
        let [adapter, trained] = both;
        let adapter = &adapter;
        let same = diff(adapter, adapter).unwrap();
        assert_eq!(same.modules.len(), adapter.modules.len());
        assert!(same.total.distance < 1e-9 * same.total.norms.0);
        let apart = diff(adapter, &trained).unwrap();
        for (index, (path, found)) in apart.modules.iter().enumerate() {
            let dense = |adapter: &Adapter| -> Vec<f64> {
                let m = &adapter.modules[index];
                let experts = 0..m.experts().unwrap_or(1);
                experts
                    .flat_map(|expert| {
                        let (a, b) = adapter.factors_of(index, expert);
                        let mut values = vec![0.0; m.out_features * m.in_features];
                        lora_core::add_delta(&mut values, 0, a, b, m.rank, m.scaling);
                        values.into_iter().map(f64::from).collect::<Vec<_>>()
                    })
                    .collect()
            };
            let (one, two) = (dense(adapter), dense(&trained));
            let distance: f64 = one.iter().zip(&two).map(|(x, y)| (x - y).powi(2)).sum();
            assert!(
                (found.distance / distance.sqrt() - 1.0).abs() < 1e-4,
                "{path}: {found:?}"
            );
        }
        let modules = golden.base.modules();
        let refused = combine(
            &[(adapter, 0.5), (&trained, 0.5)],
            Combination::Cat,
            &modules,
        );
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("target_parameters")
        );
        let folder = tempfile::tempdir().unwrap();
        let refused = adapter.save_mlx(folder.path(), &modules).unwrap_err();
        assert!(
            refused.to_string().contains("target_parameters"),
            "{refused}"
        );
        let refused = lora_core::modules_of(&golden.folder("adapter")).unwrap_err();
        assert!(
            refused.to_string().contains("only the base knows"),
            "{refused}"
        );
    }
}
