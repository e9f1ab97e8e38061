//! How adapters begin: every init_lora_weights, magnitudes, whole tensors; and what they are saved as.
use crate::support::{Told, golden, list};
use lora_core::{
    Adapter, BaseModel, Error, Init, LoraConfig, Module, ModuleKind, TargetModules, weight_norms,
};
use std::collections::BTreeMap;

/// A tied model of one layer with made-up weights.
struct Tiny {
    modules: Vec<Module>,
    weights: BTreeMap<String, Vec<f32>>,
}

impl Tiny {
    fn new() -> Self {
        let bias = ModuleKind::Linear { bias: true };
        let modules = vec![
            Module::embedding("model.embed_tokens", 20, 8),
            Module::norm("model.layers.0.input_layernorm", 8),
            Module {
                kind: bias,
                ..Module::linear("model.layers.0.self_attn.q_proj", 8, 8)
            },
            Module::linear("model.layers.0.mlp.up_proj", 8, 12),
            Module::linear("model.layers.0.mlp.down_proj", 12, 8),
            Module::norm("model.norm", 8),
            Module {
                is_head: true,
                tied: true,
                ..Module::linear("lm_head", 8, 20)
            },
        ];
        let mut weights = BTreeMap::new();
        for (k, module) in modules.iter().enumerate() {
            let n = module.weight_shape().iter().product::<usize>();
            let values = (0..n)
                .map(|i| ((i * (k + 3)) as f32 * 0.731).sin() * 0.4)
                .collect();
            weights.insert(format!("{}.weight", module.path), values);
            weights.insert(
                format!("{}.bias", module.path),
                vec![0.25; module.out_features],
            );
        }
        weights.insert(
            "lm_head.weight".into(),
            weights["model.embed_tokens.weight"].clone(),
        );
        Self { modules, weights }
    }
}

impl BaseModel for Tiny {
    fn modules(&self) -> Vec<Module> {
        self.modules.clone()
    }

    fn read(&self, tensor: &str, first: usize, out: &mut [f32]) -> Result<(), Error> {
        out.copy_from_slice(&self.weights[tensor][first..first + out.len()]);
        Ok(())
    }
}

fn begin(change: impl FnOnce(&mut LoraConfig)) -> Result<Adapter, String> {
    let mut config = LoraConfig::new(3, 6.0, list(&["q_proj", "up_proj", "down_proj"]));
    change(&mut config);
    Adapter::init(config, &Tiny::new(), 5).map_err(|e| e.told())
}

fn is_zero(values: &[f32]) -> bool {
    values.iter().all(|&v| v == 0.0)
}

#[test]
fn gaussian_has_the_deviation_of_the_rank() {
    let modules = vec![Module::linear("q_proj", 4096, 16)];
    let mut config = LoraConfig::new(8, 8.0, list(&["q_proj"]));
    config.init = Init::Gaussian;
    let adapter = Adapter::init(config, &modules, 1).unwrap();
    let (a, b) = adapter.factors(0);
    let variance = a.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / a.len() as f64;
    assert!((variance * 64.0 - 1.0).abs() < 0.03, "{variance}");
    assert!(is_zero(b));
}

#[test]
fn embeddings_begin_with_a_zero_and_false_with_nothing_zero() {
    let adapter = begin(|c| c.target_modules = list(&["embed_tokens", "q_proj"])).unwrap();
    let (a, b) = adapter.factors(0);
    assert!(is_zero(a) && !is_zero(b) && a.len() == 3 * 20 && b.len() == 8 * 3);
    let (a, b) = adapter.factors(1);
    assert!(!is_zero(a) && is_zero(b));
    let adapter = begin(|c| c.init = Init::Linear).unwrap();
    let (a, b) = adapter.factors(0);
    assert!(
        a.iter().all(|v| v.abs() <= 1.0 / 8f32.sqrt())
            && b.iter().all(|v| v.abs() <= 1.0 / 3f32.sqrt())
    );
    assert!(!is_zero(a) && !is_zero(b));
}

#[test]
fn magnitudes_are_norms_and_whole_tensors_are_the_bases() {
    let base = Tiny::new();
    let adapter = begin(|c| {
        c.use_dora = true;
        c.bias = lora_core::Bias::All;
        c.modules_to_save = vec!["lm_head".into(), "norm".into()];
    })
    .unwrap();
    for (i, module) in adapter.modules.iter().enumerate() {
        let norms = weight_norms(&base, module, adapter.factors(i), None).unwrap();
        assert_eq!(adapter.params[module.magnitude.clone().unwrap()], norms);
        assert_eq!(
            adapter.dora_gains(&base, i).unwrap().unwrap(),
            vec![1.0; module.out_features]
        );
    }
    // PEFT's `endswith`: "norm" is also the end of input_layernorm.
    let names: Vec<&str> = adapter.trained.iter().map(|t| t.tensor.as_str()).collect();
    let norms = ["model.layers.0.input_layernorm.weight", "model.norm.weight"];
    assert_eq!(
        names,
        [
            norms[0],
            "model.layers.0.self_attn.q_proj.bias",
            norms[1],
            "lm_head.weight"
        ]
    );
    for tensor in &adapter.trained {
        assert_eq!(
            adapter.replacement(&tensor.tensor).unwrap(),
            base.weights[&tensor.tensor],
            "{}",
            tensor.tensor
        );
    }
    assert_eq!(
        adapter.params.len() - adapter.added_parameters(),
        8,
        "a bias is the base's own"
    );
}

/// ‖W − s·B·A‖² of PiSSA is what the singular values behind the rank leave: no other matrix of this rank is nearer.
#[test]
fn pissa_takes_the_nearest_matrix_of_its_rank() {
    let base = Tiny::new();
    let adapter = begin(|c| c.init = Init::Pissa(None)).unwrap();
    for (i, module) in adapter.modules.iter().enumerate() {
        let w = &base.weights[&format!("{}.weight", module.path)];
        let mut rest: Vec<f32> = w.iter().map(|v| -v).collect();
        module.add_delta(&mut rest, 0, adapter.factors(i));
        let (out, inn) = (module.out_features, module.in_features);
        // Nearest: what is left is orthogonal to B's columns and A's rows.
        let (a, b) = adapter.factors(i);
        for j in 0..3 {
            for column in 0..inn {
                let inner: f32 = (0..out)
                    .map(|o| b[o * 3 + j] * rest[o * inn + column])
                    .sum();
                assert!(inner.abs() < 1e-5, "{}: {inner}", module.path);
            }
            for o in 0..out {
                let inner: f32 = (0..inn).map(|c| a[j * inn + c] * rest[o * inn + c]).sum();
                assert!(inner.abs() < 1e-5, "{}: {inner}", module.path);
            }
            // √S on both sides, largest first.
            let norm = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
            let (left, right) = (
                norm(&(0..out).map(|o| b[o * 3 + j]).collect::<Vec<_>>()),
                norm(&a[j * inn..][..inn]),
            );
            assert!(
                (left - right).abs() < 1e-5
                    && (j == 0 || right <= norm(&a[(j - 1) * inn..][..inn]) + 1e-6)
            );
        }
    }
}

/// PEFT's own A and B of these initialisations, up to the signs that a decomposition leaves open.
#[test]
fn pissa_and_olora_are_pefts() {
    for case in ["pissa", "olora"] {
        let theirs = golden(case).join("adapter");
        let base = Folder::open(case);
        let (loaded, warnings) = Adapter::load(&theirs, &base).unwrap();
        assert!(warnings.is_empty());
        let ours = Adapter::init(loaded.config.clone(), &base, 0).unwrap();
        assert_eq!(ours.origin, loaded.origin);
        for (i, module) in ours.modules.iter().enumerate() {
            let product = |adapter: &Adapter| {
                let mut delta = vec![0f32; module.in_features * module.out_features];
                module.add_delta(&mut delta, 0, adapter.factors(i));
                delta
            };
            let worst = product(&ours)
                .iter()
                .zip(product(&loaded))
                .fold(0f32, |m, (x, y)| m.max((x - y).abs()));
            assert!(worst < 2e-6, "{case} {}: {worst}", module.path);
            let (a, b) = (ours.factors(i), loaded.factors(i));
            let worst =
                a.0.iter()
                    .zip(b.0)
                    .fold(0f32, |m, (x, y)| m.max((x.abs() - y.abs()).abs()));
            assert!(worst < 1e-5, "{case} {}: {worst}", module.path);
        }
    }
}

/// As initialised, such an adapter changes nothing, and it is saved as a plain LoRA that changes nothing.
#[test]
fn what_left_the_base_comes_back_in_the_file() {
    for rslora in [false, true] {
        let mut adapter = begin(|c| {
            c.init = Init::Olora;
            c.use_rslora = rslora;
            c.rank_pattern = lora_core::Pattern(vec![("q_proj".into(), 2)]);
            c.alpha_pattern = lora_core::Pattern(vec![("up_proj".into(), 5.0)]);
        })
        .unwrap();
        adapter
            .params
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v += (i as f32).cos() * 0.1);
        let dir = tempfile::tempdir().unwrap();
        adapter.save(dir.path()).unwrap();
        let (plain, warnings) = Adapter::load(dir.path(), &Tiny::new().modules).unwrap();
        assert!(
            warnings.is_empty() && plain.config.init == Init::Kaiming && plain.origin.is_none()
        );
        for (i, module) in adapter.modules.iter().enumerate() {
            let size = module.in_features * module.out_features;
            let (mut change, mut taken, mut saved) =
                (vec![0f32; size], vec![0f32; size], vec![0f32; size]);
            module.add_delta(&mut change, 0, adapter.factors(i));
            module.add_delta(&mut taken, 0, adapter.origin_factors(i).unwrap());
            plain.modules[i].add_delta(&mut saved, 0, plain.factors(i));
            assert_eq!(plain.modules[i].rank, 2 * module.rank);
            for ((change, taken), saved) in change.iter().zip(&taken).zip(&saved) {
                assert!((change - taken - saved).abs() < 1e-5, "{}", module.path);
            }
        }
    }
}

#[test]
fn what_can_not_be_is_refused() {
    for (reason, change) in [
        (
            "gives no more than 8 directions",
            (|c| (c.init, c.r) = (Init::Pissa(None), 9)) as fn(&mut LoraConfig),
        ),
        ("lora_bias is not possible on the embedding", |c| {
            (c.lora_bias, c.target_modules) = (true, list(&["embed_tokens"]));
        }),
        ("is a norm", |c| {
            c.target_modules = list(&["q_proj", "input_layernorm"])
        }),
        ("is no linear layer but holds some", |c| {
            c.target_modules = list(&["mlp"])
        }),
        ("is no linear layer but holds some", |c| {
            c.target_modules = TargetModules::Regex(r"model\.layers\.0\.mlp.*".into())
        }),
        ("both a target and a module to save", |c| {
            c.modules_to_save = vec!["proj".into()]
        }),
        ("ensure_weight_tying is not supported", |c| {
            (c.ensure_weight_tying, c.modules_to_save) = (true, vec!["lm_head".into()]);
        }),
        ("with exclude_modules matches no module", |c| {
            c.exclude_modules = Some("q_proj,up_proj,mlp.down_proj".parse().unwrap())
        }),
        ("is not a usable regular expression", |c| {
            c.rank_pattern = lora_core::Pattern(vec![("(".into(), 1)])
        }),
        ("\"eva\" is not supported for a new adapter", |c| {
            c.init = Init::Other("eva".into())
        }),
    ] {
        let message = begin(change).unwrap_err();
        assert!(message.contains(reason), "{reason}: {message}");
    }
}

#[test]
fn options_without_effect_are_noted() {
    let mut config = LoraConfig::new(2, 2.0, list(&["q_proj"]));
    config.exclude_modules = Some("k_proj".parse().unwrap());
    config.modules_to_save = vec!["classifier".into()];
    config.rank_pattern = lora_core::Pattern(vec![("q_proj".into(), 3), ("up_proj".into(), 3)]);
    let notes = config.notes(&Tiny::new().modules).unwrap();
    assert_eq!(
        notes,
        [
            "exclude_modules `k_proj` excludes no module of this model",
            "modules_to_save names `classifier`, which is not in this model",
            "rank_pattern `up_proj` matches no targeted module",
        ]
    );
}

/// PEFT warns of them, and the run then is not what was asked for.
#[test]
fn options_without_effect_are_refused_for_a_new_adapter() {
    let modules = Tiny::new().modules;
    let refused = |change: fn(&mut LoraConfig)| {
        let mut config = LoraConfig::new(2, 2.0, list(&["q_proj"]));
        change(&mut config);
        config.require_effect(&modules).map_err(|e| e.told())
    };
    let rank = |key: &str| lora_core::Pattern(vec![(key.to_owned(), 3usize)]);
    assert_eq!(refused(|_| ()), Ok(()));
    assert_eq!(
        refused(|c| c.alpha_pattern = lora_core::Pattern(vec![("q_proj".into(), 3.0)])),
        Ok(())
    );
    for key in ["^q_proj", "q_porj", "v_proj"] {
        let mut config = LoraConfig::new(2, 2.0, list(&["q_proj"]));
        config.rank_pattern = rank(key);
        let error = config.require_effect(&modules).unwrap_err().told();
        assert!(
            error.contains(&format!("`{key}` matches no targeted module")),
            "{error}"
        );
        assert!(
            error.ends_with("those that carry LoRA are q_proj"),
            "{error}"
        );
    }
    assert!(
        refused(|c| c.layers_to_transform = vec![0, 99])
            .unwrap_err()
            .contains("layer 99")
    );
    assert!(
        refused(|c| c.modules_to_save = vec!["x".into()])
            .unwrap_err()
            .contains("modules_to_save")
    );
}

/// The base of a golden case.
struct Folder {
    modules: Vec<Module>,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Folder {
    fn open(case: &str) -> Self {
        let bytes = std::fs::read(golden(case).join("base/model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let (mut modules, mut tensors) = (Vec::new(), BTreeMap::new());
        for (name, view) in file.iter() {
            let values = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect();
            if let ([out, inn], Some(path)) = (view.shape(), name.strip_suffix(".weight"))
                && path != "model.embed_tokens"
            {
                modules.push(Module {
                    is_head: path == "lm_head",
                    ..Module::linear(path, *inn, *out)
                });
            }
            tensors.insert(name.to_owned(), values);
        }
        modules.sort_by(|a, b| a.path.cmp(&b.path));
        Self { modules, tensors }
    }
}

impl BaseModel for Folder {
    fn modules(&self) -> Vec<Module> {
        self.modules.clone()
    }

    fn read(&self, tensor: &str, first: usize, out: &mut [f32]) -> Result<(), Error> {
        out.copy_from_slice(&self.tensors[tensor][first..first + out.len()]);
        Ok(())
    }
}
