//! Every option of an adapter through the real command: it trains, it is written, it is read again.
use crate::harness::{
    adapter_bytes, base, dataset, floats, golden, losses, mixture, refused, train,
};
use serde_json::{Value, json};
use std::path::Path;

fn config(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("adapter_config.json")).unwrap()).unwrap()
}

/// Trains 6 steps on all rows with these flags in both routes; the routes agree, the loss falls, and a second run goes on from there.
fn trains(base: &str, flags: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path());
    let run = |route: &str| {
        let out = dir.path().join(route);
        let fixed = [
            "--base",
            base,
            "--data",
            &data,
            "--out",
            out.to_str().unwrap(),
            "--steps",
            "6",
            "--warmup",
            "0",
        ];
        let more = [
            "--batch", "24", "--rank", "4", "--lr", "5e-3", "--seed", "3", "--route", route,
        ];
        (losses(&train(&[&fixed[..], &more, flags].concat())), out)
    };
    let ((fused, out), (composite, _)) = (run("fused"), run("composite"));
    for (f, c) in fused.iter().zip(&composite) {
        assert!(
            (f / c - 1.0).abs() < 1e-4,
            "{flags:?}: {fused:?} {composite:?}"
        );
    }
    assert!(fused[5] < fused[0], "{flags:?}: {fused:?}");
    let on = dir.path().join("on");
    let args = [
        "--base",
        base,
        "--data",
        &data,
        "--out",
        on.to_str().unwrap(),
        "--adapter",
        out.to_str().unwrap(),
    ];
    let further = losses(&train(
        &[
            &args[..],
            &["--steps", "1", "--warmup", "0", "--batch", "24"],
        ]
        .concat(),
    ));
    assert!(
        further[0] < fused[0],
        "{flags:?}: {further:?} after {fused:?}"
    );
    config(&out)
}

/// A base, flags, and what they make of the adapter's config.
type Case<'c> = (&'c str, &'c [&'c str], &'c [(&'c str, Value)]);

#[test]
fn each_option_trains_alike_in_both_routes_and_is_written() {
    let biased = golden("qwen2_bias_all_linear", "base")
        .display()
        .to_string();
    let tied = base();
    let dir = tempfile::tempdir().unwrap();
    let (qwen, granite) = (
        mixture(dir.path(), "parameters_all"),
        mixture(dir.path(), "parameters_stacked"),
    );
    let cases: [Case<'_>; 14] = [
        (
            &tied,
            &["--dora", "--dropout", "0.2"],
            &[("use_dora", json!(true)), ("lora_dropout", json!(0.2))],
        ),
        (
            &tied,
            &["--targets", "embed_tokens,lm_head,v_proj"],
            &[(
                "target_modules",
                json!(["embed_tokens", "lm_head", "v_proj"]),
            )],
        ),
        (
            &tied,
            &[
                "--targets",
                "embed_tokens,lm_head",
                "--dora",
                "--dropout",
                "0.1",
            ],
            &[("use_dora", json!(true))],
        ),
        (
            &tied,
            &["--targets", "q_proj", "--modules-to-save", "lm_head,norm"],
            &[("modules_to_save", json!(["lm_head", "norm"]))],
        ),
        (
            &tied,
            &[
                "--targets",
                "q_proj",
                "--modules-to-save",
                "embed_tokens,down_proj",
            ],
            &[],
        ),
        (
            &biased,
            &["--bias", "all", "--lora-bias"],
            &[("bias", json!("all")), ("lora_bias", json!(true))],
        ),
        (
            &biased,
            &["--bias", "lora_only", "--targets", "q_proj"],
            &[("bias", json!("lora_only"))],
        ),
        (
            &tied,
            &["--init", "pissa", "--rslora"],
            &[("init_lora_weights", json!(true)), ("r", json!(8))],
        ),
        (
            &tied,
            &["--init", "olora", "--dropout", "0.1"],
            &[("r", json!(8)), ("lora_alpha", json!(8))],
        ),
        (
            &tied,
            &["--init", "pissa", "--dora", "--dropout", "0.1"],
            &[("use_dora", json!(true)), ("r", json!(8))],
        ),
        (
            &tied,
            &["--init", "gaussian", "--lora-plus-ratio", "8"],
            &[("init_lora_weights", json!("gaussian"))],
        ),
        (
            &tied,
            &[
                "--layers",
                "1",
                "--exclude",
                "mlp.up_proj",
                "--rank-pattern",
                "v_proj=2",
                "--alpha-pattern",
                "q_proj=9",
            ],
            &[
                ("layers_to_transform", json!([1])),
                ("exclude_modules", json!(["mlp.up_proj"])),
                ("rank_pattern", json!({"v_proj": 2})),
                ("alpha_pattern", json!({"q_proj": 9})),
            ],
        ),
        (
            &qwen,
            &["--targets", "none", "--target-parameters", "experts,router"],
            &[
                ("target_modules", json!([])),
                (
                    "target_parameters",
                    json!([
                        "mlp.experts.down_proj",
                        "mlp.experts.gate_up_proj",
                        "mlp.gate.weight"
                    ]),
                ),
            ],
        ),
        (
            &granite,
            &[
                "--target-parameters",
                "layers.1.block_sparse_moe.experts.down_proj",
                "--target-parameters",
                "router",
                "--rslora",
            ],
            &[
                (
                    "target_modules",
                    json!(["k_proj", "o_proj", "q_proj", "v_proj"]),
                ),
                (
                    "target_parameters",
                    json!([
                        "layers.1.block_sparse_moe.experts.down_proj",
                        "block_sparse_moe.router.weight"
                    ]),
                ),
            ],
        ),
    ];
    for (base, flags, wanted) in cases {
        let written = trains(base, flags);
        for (key, value) in wanted {
            assert_eq!(&written[key], value, "{flags:?} {key}");
        }
    }
}

/// With the same gradients B moves by the ratio: after one step of Adam each value by lr, or by ratio · lr.
#[test]
fn lora_plus_moves_b_by_its_ratio() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let b_of = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let fixed = [
            "--base",
            &base,
            "--data",
            &data,
            "--out",
            out.to_str().unwrap(),
            "--steps",
            "1",
            "--warmup",
            "0",
        ];
        train(
            &[
                &fixed[..],
                &["--rank", "2", "--lr", "1e-3", "--schedule", "constant"],
                more,
            ]
            .concat(),
        );
        let tensors = floats(&out.join("adapter_model.safetensors"));
        tensors
            .into_iter()
            .filter(|(name, _)| name.contains("lora_B"))
            .flat_map(|(_, values)| values)
            .collect::<Vec<_>>()
    };
    let (plain, plus) = (
        b_of("plain", &[]),
        b_of("plus", &["--lora-plus-ratio", "16"]),
    );
    assert!(plain.len() > 100);
    for (plain, plus) in plain.iter().zip(&plus) {
        assert!((plus - 16.0 * plain).abs() <= 1e-6, "{plain} {plus}");
    }
}

#[test]
fn an_adapter_that_decomposes_the_base_is_the_same_for_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let (base, data) = (base(), dataset(dir.path()));
    let run = |name: &str, threads: &str| {
        let out = dir.path().join(name);
        let args = [
            "--base",
            &base,
            "--data",
            &data,
            "--out",
            out.to_str().unwrap(),
            "--steps",
            "3",
            "--threads",
            threads,
        ];
        train(
            &[
                &args[..],
                &[
                    "--init",
                    "pissa_niter_4",
                    "--rank",
                    "4",
                    "--targets",
                    "all-linear",
                ],
            ]
            .concat(),
        );
        adapter_bytes(&out)
    };
    assert!(run("one", "1") == run("two", "2"));
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_opened() {
    let with = |flags: &[&str]| {
        refused(
            &[
                &["--base", "nowhere", "--data", "nowhere", "--out", "o"],
                flags,
            ]
            .concat(),
        )
    };
    for (flags, reason) in [
        (
            &["--dora", "--lora-bias"][..],
            "lora_bias does not go with use_dora",
        ),
        (
            &["--layers", "1", "--targets", "all-linear"],
            "layers_to_transform needs a list",
        ),
        (&["--layers", "3-1"], "--layers 3-1"),
        (&["--rank-pattern", "q_proj"], "--rank-pattern q_proj"),
        (&["--rank-pattern", "q_proj=0"], "a rank must be at least 1"),
        (&["--alpha-pattern", "q_proj=x"], "--alpha-pattern q_proj=x"),
        (&["--init", "nonsense"], "--init nonsense is not known"),
        (
            &["--init", "olora", "--lora-bias"],
            "lora_bias needs init_lora_weights",
        ),
        (&["--bias", "some"], "lora_only"),
        (&["--lora-plus-ratio", "0"], "a number above 0"),
        (
            &["--method", "full", "--dora"],
            "--dora can't be used with --method full",
        ),
        (
            &["--adapter", "a", "--modules-to-save", "lm_head"],
            "--modules-to-save",
        ),
    ] {
        let stderr = with(flags);
        assert!(stderr.contains(reason), "{flags:?}: {stderr}");
    }
}

#[test]
fn parameters_that_can_not_carry_lora_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (dense, data) = (base(), dataset(dir.path()));
    let mixture = mixture(dir.path(), "parameters_all");
    let out = dir.path().join("out").display().to_string();
    let cases: [(&str, &[&str], &str); 8] = [
        (
            &dense,
            &["--target-parameters", "experts"],
            "it has no experts",
        ),
        (
            &mixture,
            &["--target-parameters", "q_proj.weight"],
            "is a linear layer's",
        ),
        (
            &mixture,
            &["--target-parameters", "experts", "--dropout", "0.1"],
            "--dropout 0",
        ),
        (
            &mixture,
            &["--target-parameters", "experts", "--preset", "conservative"],
            "--dropout 0",
        ),
        (
            &mixture,
            &["--target-parameters", "experts", "--dora"],
            "use_dora",
        ),
        (
            &mixture,
            &[
                "--target-parameters",
                "experts",
                "--targets",
                "q_proj",
                "--layers",
                "0",
            ],
            "layers.0.mlp.experts.down_proj",
        ),
        (&mixture, &["--targets", "none"], "--target-parameters"),
        (
            &mixture,
            &["--method", "full", "--target-parameters", "experts"],
            "--method full",
        ),
    ];
    for (base, flags, what) in cases {
        let fixed = [
            "--base", base, "--data", &data, "--out", &out, "--steps", "1",
        ];
        let stderr = refused(&[&fixed[..], flags].concat());
        assert!(stderr.contains(what), "{flags:?}: {stderr}");
    }
}
