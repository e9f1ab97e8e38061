//! Known answers, and the tool from arguments to file.
use clap::Parser;
use lora_cli::Ui;
use lora_plan::{Args, Known, run};
use serde_json::Value;
use std::path::Path;

/// Runs `lora-plan params --model MODEL FLAGS --out FILE` and reads the file.
fn plan(model: &str, flags: &[&str]) -> Result<Value, String> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("plan.json");
    let args = [
        "lora-plan",
        "params",
        "--model",
        model,
        "--out",
        out.to_str().unwrap(),
    ];
    let args = Args::try_parse_from(args.iter().chain(flags)).map_err(|e| e.to_string())?;
    run(args, &Ui::silent()).map_err(|e| e.render(str::to_string))?;
    assert!(dir.path().join("plan.json.receipt.json").is_file());
    Ok(serde_json::from_slice(&std::fs::read(out).unwrap()).unwrap())
}

fn golden(case: &str) -> String {
    format!(
        "{}/../../tests/fixtures/golden/{case}",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn known_models_have_their_published_sizes() {
    let totals = [
        ("llama-2-7b", 6_738_415_616u64),
        ("llama-2-13b", 13_015_864_320),
        ("llama-2-70b", 68_976_648_192),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-70b", 70_553_706_496),
        ("llama-3.1-405b", 405_853_388_800),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.2-3b", 3_212_749_824),
        ("llama-3.3-70b", 70_553_706_496),
        ("tinyllama-1.1b", 1_100_048_384),
        ("smollm2-135m", 134_515_008),
        ("smollm2-360m", 361_821_120),
        ("smollm2-1.7b", 1_711_376_384),
        ("smollm3-3b", 3_075_098_624),
        ("mistral-7b-v0.1", 7_241_732_096),
        ("mistral-7b-v0.3", 7_248_023_552),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-1.5b", 1_543_714_304),
        ("qwen2.5-3b", 3_085_938_688),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen2.5-14b", 14_770_033_664),
        ("qwen2.5-32b", 32_763_876_352),
        ("qwen2.5-72b", 72_706_203_648),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-1.7b", 1_720_574_976),
        ("qwen3-4b", 4_022_468_096),
        ("qwen3-8b", 8_190_735_360),
        ("qwen3-14b", 14_768_307_200),
        ("qwen3-32b", 32_762_123_264),
        ("qwen3-30b-a3b", 30_532_122_624),
        ("qwen3-235b-a22b", 235_093_634_560),
        ("olmoe-1b-7b", 6_919_161_856),
        ("mixtral-8x7b", 46_702_792_704),
        ("mixtral-8x22b", 140_620_634_112),
        ("granite-3.1-1b-a400m", 1_334_628_352),
        ("granite-3.1-3b-a800m", 3_298_793_472),
        ("gpt-oss-20b", 20_914_757_184),
        ("gpt-oss-120b", 116_829_156_672),
        ("qwen3.5-0.8b", 752_393_024),
        ("qwen3.5-9b", 8_953_803_264),
        ("lfm2-350m", 354_483_968),
        ("lfm2-700m", 742_489_344),
        ("lfm2-1.2b", 1_170_340_608),
        ("lfm2-8b-a1b", 8_339_929_856),
        ("granite-4.0-350m", 352_379_904),
        ("granite-4.0-1b", 1_631_750_144),
        ("granite-4.0-micro", 3_402_836_480),
        ("granite-4.0-h-350m", 340_332_224),
        ("granite-4.0-h-1b", 1_461_538_368),
        ("granite-4.0-h-micro", 3_191_396_096),
        ("granite-4.0-h-tiny", 6_939_037_248),
        ("granite-4.0-h-small", 32_207_337_984),
        ("helium-1-preview-2b", 2_172_643_840),
        ("falcon-h1-0.5b", 521_411_104),
        ("falcon-h1-1.5b", 1_554_863_488),
        ("falcon-h1-7b", 7_585_648_736),
        ("gemma-2-2b", 2_614_341_888),
        ("gemma-2-9b", 9_241_705_984),
        ("gemma-2-27b", 27_227_128_320),
        ("gemma-3-270m", 268_098_176),
        ("gemma-3-1b", 999_885_952),
        ("gemma-2b", 2_506_172_416),
        ("gemma-7b", 8_537_680_896),
        ("granite-3.3-2b", 2_533_539_840),
        ("granite-3.3-8b", 8_170_864_640),
        ("glm-4-9b", 9_400_279_040),
        ("glm-4-32b", 32_566_487_552),
        ("olmo-2-1b", 1_484_916_736),
        ("olmo-2-7b", 7_298_617_344),
        ("olmo-2-13b", 13_716_198_400),
        ("olmo-2-32b", 32_234_279_936),
        ("ernie-4.5-0.3b", 360_748_032),
        ("seed-oss-36b", 36_151_104_512),
        ("olmo-3-7b", 7_298_011_136),
        ("olmo-3-32b", 32_233_522_176),
        ("exaone-4.0-1.2b", 1_279_391_488),
        ("exaone-4.0-32b", 32_003_216_384),
        ("ministral-3-3b", 3_429_006_336),
        ("ministral-3-8b", 8_489_553_920),
        ("ministral-3-14b", 13_506_073_600),
        ("hunyuan-4b", 4_221_757_440),
        ("hunyuan-7b", 7_504_568_320),
        ("ministral-8b", 8_019_808_256),
        ("starcoder2-3b", 3_030_371_328),
        ("starcoder2-7b", 7_173_923_840),
        ("starcoder2-15b", 15_957_889_024),
        ("apertus-8b", 8_053_338_176),
        ("apertus-70b", 70_599_864_480),
        ("command-r7b", 8_028_033_024),
        ("command-a", 111_057_580_032),
        ("phi-3-mini", 3_821_079_552),
        ("phi-3-medium", 13_960_238_080),
        ("phi-4-mini", 3_836_021_760),
    ];
    assert_eq!(totals.len(), Known::all().len());
    for (name, total) in totals {
        assert_eq!(plan(name, &[]).unwrap()["base"], total, "{name}");
    }
    assert_eq!(
        Known::named("SmolLM2-135M-Instruct").unwrap().name,
        "smollm2-135m"
    );
    assert!(Known::named("llama-3").is_none());
}

#[test]
fn peft_lines() {
    let llama = plan("llama-3-8b", &["--rank", "8", "--targets", "q_proj,v_proj"]).unwrap();
    assert_eq!(
        llama["line"],
        "trainable params: 3,407,872 || all params: 8,033,669,120 || trainable%: 0.0424"
    );
    assert_eq!(
        plan("llama-3-8b", &["--targets", "all"]).unwrap()["trainable"],
        41_943_040
    );
    for targets in ["all", "all-linear", r"model\.layers\.\d+\..*_proj"] {
        let smol = plan("smollm2-135m", &["--rank", "16", "--targets", targets]).unwrap();
        assert_eq!(
            smol["line"],
            "trainable params: 4,884,480 || all params: 139,399,488 || trainable%: 3.5039"
        );
    }
}

/// PEFT's own counts of shapes of twelve families, made by tests/oracle/count_params.py.
#[test]
fn peft_counts() {
    let file: Value = serde_json::from_str(include_str!("peft_counts.json")).unwrap();
    let counts = file["counts"].as_array().unwrap();
    assert_eq!(counts.len(), 40);
    for row in counts {
        let targets: Vec<&str> = row["target_modules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap())
            .collect();
        let flags = [
            "--rank",
            &row["rank"].to_string(),
            "--targets",
            &targets.join(","),
        ]
        .map(str::to_owned);
        let found = plan(
            row["model"].as_str().unwrap(),
            &flags.each_ref().map(String::as_str),
        )
        .unwrap();
        assert_eq!(
            (&found["trainable"], &found["all"]),
            (&row["trainable"], &row["all"]),
            "{row}"
        );
    }
}

/// PEFT's own counts of the golden cases, from a folder and from its config.json alone.
#[test]
fn golden_cases() {
    for (case, flags) in [
        ("llama_gqa_tied", &["--rank", "8", "--alpha", "16"][..]),
        (
            "llama_rope3_rslora",
            &[
                "--rank",
                "4",
                "--alpha",
                "8",
                "--rslora",
                "--targets",
                "attention",
            ],
        ),
    ] {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(golden(case) + "/case.json").unwrap()).unwrap();
        for model in ["/base", "/base/config.json"] {
            let found = plan(&(golden(case) + model), flags).unwrap();
            assert_eq!(
                (&found["trainable"], &found["all"]),
                (&expected["trainable_params"], &expected["all_params"])
            );
        }
        let adapter = std::fs::metadata(golden(case) + "/adapter/adapter_model.safetensors")
            .unwrap()
            .len();
        assert_eq!(
            plan(&(golden(case) + "/base"), flags).unwrap()["adapter_bytes"],
            adapter
        );
    }
}

/// LoRA on a mixture's experts and router is counted as PEFT counts it, by flags and from PEFT's own configs.
#[test]
fn parameters_of_mixtures() {
    for case in [
        "parameters_all",
        "parameters_gate_up",
        "parameters_down",
        "parameters_converted",
        "parameters_stacked",
    ] {
        let expected: Value =
            serde_json::from_slice(&std::fs::read(golden(case) + "/case.json").unwrap()).unwrap();
        let config = golden(case) + "/adapter";
        let found = plan(
            &(golden(case) + "/base/config.json"),
            &["--config", &config],
        )
        .unwrap();
        let file = std::fs::metadata(config + "/adapter_model.safetensors").unwrap();
        assert_eq!(
            (&found["trainable"], &found["all"], &found["adapter_bytes"]),
            (
                &expected["trainable_params"],
                &expected["all_params"],
                &file.len().into()
            ),
            "{case}"
        );
    }
    let base = golden("parameters_gate_up") + "/base";
    let flags = ["--rank", "2", "--targets", "none", "--target-parameters"];
    let count = |names: &str| {
        let found = plan(&base, &[&flags[..], &[names]].concat()).unwrap();
        found["trainable"].as_u64().unwrap()
    };
    let found = plan(&base, &[&flags[..], &["router"]].concat()).unwrap();
    assert_eq!(found["targets"], "mlp.gate.weight");
    // Two layers, six experts: A (2·6, 36) and B (24, 2·6); A (2·6, 12) and B (36, 2·6); A (2, 36) and B (6, 2).
    let [gate_up, down, router] = [2 * 12 * (36 + 24), 2 * 12 * (12 + 36), 2 * 2 * (36 + 6)];
    assert_eq!(count("experts.gate_up_proj"), gate_up);
    assert_eq!(count("experts"), gate_up + down);
    assert_eq!(count("experts,router"), gate_up + down + router);
    let error = plan(&base, &[&flags[..], &["experts.w1"]].concat()).unwrap_err();
    assert!(error.contains("mlp.experts.gate_up_proj"), "{error}");
}

/// An adapter's own config is counted as it is, from its folder and from the file.
#[test]
fn an_adapters_config_in_place_of_flags() {
    let case = golden("llama_rope3_rslora");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(format!("{case}/case.json")).unwrap()).unwrap();
    for config in ["/adapter", "/adapter/adapter_config.json"] {
        let found = plan(
            &format!("{case}/base"),
            &["--config", &(case.clone() + config)],
        )
        .unwrap();
        assert_eq!(
            (&found["trainable"], &found["rslora"]),
            (&expected["trainable_params"], &Value::Bool(true))
        );
    }
    assert!(
        plan(&format!("{case}/base"), &["--config", "x", "--rank", "8"])
            .unwrap_err()
            .contains("--rank")
    );
}

#[test]
fn parts_add_up() {
    let plan = plan(
        "smollm2-360m",
        &["--rank", "64", "--alpha", "16", "--rslora"],
    )
    .unwrap();
    let modules = plan["modules"].as_array().unwrap();
    assert_eq!(
        modules
            .iter()
            .map(|m| m["trainable"].as_u64().unwrap())
            .sum::<u64>(),
        plan["trainable"]
    );
    assert_eq!(modules.len(), 7);
    let layers = plan["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 32);
    assert_eq!(
        layers
            .iter()
            .map(|l| l["trainable"].as_u64().unwrap())
            .sum::<u64>(),
        plan["trainable"]
    );
    assert_eq!(plan["scaling"], 2.0);
    let overview = plan["overview"].as_array().unwrap();
    assert_eq!(overview.len(), 18);
    let same = overview
        .iter()
        .find(|row| row["rank"] == 64 && row["targets"] == "all")
        .unwrap();
    assert_eq!(same["trainable"], plan["trainable"]);
}

#[test]
fn errors_name_the_way_out() {
    let unknown = plan("gpt-5", &[]).unwrap_err();
    assert!(
        unknown.contains("gpt-5") && unknown.contains("smollm2-135m"),
        "{unknown}"
    );
    let target = plan("smollm2-135m", &["--targets", "c_attn"]).unwrap_err();
    assert!(
        target.contains("c_attn") && target.contains("hint: its modules are down_proj"),
        "{target}"
    );
    assert!(
        plan("smollm2-135m", &["--rank", "0"])
            .unwrap_err()
            .contains("rank")
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(plan(folder.path().to_str().unwrap(), &[]).is_err());
    let broken = folder.path().join("config.json");
    std::fs::write(&broken, "{").unwrap();
    assert!(
        plan(broken.to_str().unwrap(), &[])
            .unwrap_err()
            .contains("config.json")
    );
    assert!(!Path::new("plan.json").exists());
}
