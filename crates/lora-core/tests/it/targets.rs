//! Target matching against what PEFT's `check_target_module_exists` does.
use crate::support::{ALL_SEVEN, Told, list, llama, module, with_roles};
use lora_core::{LoraConfig, Module, Role, TARGET_PRESETS, TargetModules, Targets};

fn matched(targets: TargetModules) -> Vec<String> {
    let modules = llama(2, 8, 4, 12, 20);
    LoraConfig::new(2, 2.0, targets)
        .layout(&modules)
        .unwrap()
        .modules
        .into_iter()
        .map(|m| m.path)
        .collect()
}

fn error(targets: TargetModules) -> String {
    LoraConfig::new(2, 2.0, targets)
        .layout(&llama(2, 8, 4, 12, 20))
        .unwrap_err()
        .told()
}

#[test]
fn a_list_matches_whole_paths_and_ends_after_a_dot() {
    let found = matched(list(&[
        "layers.1.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
        "lm_head",
    ]));
    assert_eq!(
        found,
        [
            "model.layers.0.mlp.up_proj",
            "model.layers.1.self_attn.q_proj",
            "lm_head"
        ]
    );
    let modules = [module("a.xq_proj", 2, 2), module("a.q_proj", 2, 2)];
    let targeted = LoraConfig::new(1, 1.0, list(&["q_proj"]))
        .layout(&modules)
        .unwrap()
        .modules;
    assert_eq!(
        targeted.iter().map(|m| m.path.as_str()).collect::<Vec<_>>(),
        ["a.q_proj"]
    );
}

#[test]
fn a_regex_is_a_full_match() {
    assert_eq!(
        matched(TargetModules::Regex(r".*\.0\..*(q|v)_proj".into())).len(),
        2
    );
    assert_eq!(
        matched(TargetModules::Regex("lm_head|.*down_proj".into())).len(),
        3
    ); // the bar stays inside the anchors
    assert_eq!(
        matched(TargetModules::Regex(r".*(?<!gate)_proj".into())).len(),
        12
    ); // look-behind, as Python has it
    assert!(error(TargetModules::Regex("q_proj".into())).contains("matches no module"));
    assert!(error(TargetModules::Regex("(".into())).contains("not a usable regular expression"));
}

#[test]
fn all_linear_leaves_the_head_out() {
    let found = matched(TargetModules::AllLinear);
    assert_eq!(found.len(), 14);
    assert!(!found.contains(&"lm_head".to_string()));
}

/// PEFT's model also holds activations and rotary embeddings, and refuses a target that matches one of them.
#[test]
fn what_has_no_weights_is_refused_as_a_target_and_ignored_otherwise() {
    let mut modules = llama(2, 8, 4, 12, 20);
    modules.push(Module::weightless("model.layers.0.mlp.act_fn"));
    let layout = |targets: TargetModules| LoraConfig::new(2, 4.0, targets).layout(&modules);
    for targets in [
        TargetModules::Regex(r".*mlp\..*".into()),
        list(&["q_proj", "act_fn"]),
    ] {
        let error = layout(targets).unwrap_err().told();
        assert!(
            error.starts_with("target model.layers.0.mlp.act_fn has no weights"),
            "{error}"
        );
    }
    assert_eq!(layout(TargetModules::AllLinear).unwrap().modules.len(), 14);
    let mut config = LoraConfig::new(2, 4.0, list(&["q_proj"]));
    config.modules_to_save = vec!["mlp".into()];
    assert_eq!(config.layout(&modules).unwrap().trained.len(), 6);
}

#[test]
fn an_orthogonal_beginning_needs_even_ranks() {
    let mut config = LoraConfig::new(2, 4.0, list(&["q_proj", "v_proj"]));
    config.init = lora_core::Init::Other("orthogonal".into());
    assert_eq!(
        config
            .layout(&llama(2, 8, 4, 12, 20))
            .unwrap()
            .modules
            .len(),
        4
    );
    config.rank_pattern = lora_core::Pattern(vec![("v_proj".into(), 3)]);
    let error = config.layout(&llama(2, 8, 4, 12, 20)).unwrap_err().told();
    assert!(
        error.contains("v_proj: init_lora_weights \"orthogonal\" needs an even rank, not 3"),
        "{error}"
    );
}

#[test]
fn an_unknown_name_lists_the_models_modules() {
    assert_eq!(
        error(list(&["q_proj", "c_attn"])),
        "target module `c_attn` is not in this model\n\
         hint: its modules are down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj"
    );
    assert!(error(TargetModules::List(vec![])).contains("no module is targeted"));
}

#[test]
fn people_write_sets_lists_and_patterns() {
    let modules = with_roles(llama(2, 8, 4, 12, 20));
    let read = |text: &str| text.parse::<Targets>().unwrap().resolve(&modules).unwrap();
    let sets: [(&str, &[&str]); 4] = [
        ("attention", &["q_proj", "v_proj"]),
        ("full-attention", &["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("all", &ALL_SEVEN),
        ("default", &["q_proj", "v_proj"]),
    ];
    assert_eq!(
        TARGET_PRESETS.map(|(name, _)| name)[..],
        sets.map(|(name, _)| name)[..3]
    );
    for (set, names) in sets {
        assert_eq!(read(set), list(names), "{set}");
    }
    assert_eq!(read("All-Linear"), TargetModules::AllLinear);
    assert_eq!(read("q_proj, v_proj"), list(&["q_proj", "v_proj"]));
    assert_eq!(read(".*q_proj"), TargetModules::Regex(".*q_proj".into()));
    assert!(" ,".parse::<Targets>().is_err());
    assert!("(q_proj".parse::<Targets>().is_err());
}

/// Phi-3's shape: q, k and v in one linear layer, gate and up in one.
#[test]
fn sets_are_roles_and_take_the_modules_that_have_them() {
    let linear = |path: &str, roles: &'static [Role]| Module {
        roles,
        ..Module::linear(path, 8, 8)
    };
    let modules = [
        linear("l.0.attn.qkv", &[Role::Query, Role::Key, Role::Value]),
        linear("l.0.attn.out", &[Role::Output]),
        linear("l.0.mlp.wide", &[Role::Gate, Role::Up]),
        linear("l.0.mlp.down", &[Role::Down]),
        linear("l.1.mlp.down_2", &[Role::Down]),
        linear("head", &[]),
    ];
    let read = |text: &str| text.parse::<Targets>().unwrap().resolve(&modules);
    assert_eq!(read("attention").unwrap(), list(&["qkv"]));
    assert_eq!(read("full-attention").unwrap(), list(&["qkv", "out"]));
    assert_eq!(
        read("all").unwrap(),
        list(&["qkv", "out", "wide", "down", "down_2"])
    );
    assert_eq!(
        read("default").unwrap_err().told(),
        "PEFT has no default targets for this family\nhint: use attention (qkv), full-attention (qkv, out), \
         all (qkv, out, wide, down, down_2), all-linear, or names of its modules: down, down_2, head, out, qkv, wide"
    );
    let unknown = "attention".parse::<Targets>().unwrap();
    let error = unknown.resolve(&modules[5..]).unwrap_err().told();
    assert!(
        error.contains("no module of this model has these roles"),
        "{error}"
    );
}

#[test]
fn offsets_tile_the_parameters_and_scaling_follows_peft() {
    let mut config = LoraConfig::new(4, 8.0, list(&["q_proj", "v_proj"]));
    let targeted = config.layout(&llama(2, 8, 4, 12, 20)).unwrap().modules;
    let mut end = 0;
    for module in &targeted {
        assert_eq!(
            (module.a.start, module.a.len()),
            (end, 4 * module.in_features)
        );
        assert_eq!(
            (module.b.start, module.b.len()),
            (module.a.end, 4 * module.out_features)
        );
        assert_eq!(module.scaling, 2.0);
        end = module.b.end;
    }
    config.use_rslora = true;
    assert_eq!(config.scaling(4), 4.0);
}

#[test]
fn absurd_ranks_are_errors() {
    let modules = llama(2, 8, 4, 12, 20);
    for rank in [0, usize::MAX, usize::MAX / 9, 1 << 58] {
        assert!(
            lora_core::Adapter::init(
                LoraConfig::new(rank, 1.0, TargetModules::AllLinear),
                &modules,
                0
            )
            .is_err()
        );
    }
}
