//! An adapter meets the base that it was trained on, or somebody is told.
use crate::harness::{
    CASES, assert_code, base_with_tokenizer, case, dataset, eval, examples, json, stderr,
};
use lora_checkpoint::{Chat, Checkpoint, SaveDtype, save_folder};
use lora_data::Split;
use lora_model::model_input;
use safetensors::SafeTensors;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A golden base with a tokenizer, data, and a trained adapter whose receipt names that base.
struct House {
    dir: tempfile::TempDir,
    base: PathBuf,
    data: PathBuf,
    adapter: PathBuf,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = base_with_tokenizer(dir.path(), CASES[0]);
        let data = dataset(dir.path(), examples(CASES[0]), None);
        let adapter = copy(
            &case(CASES[0]).join("adapter_trained"),
            &dir.path().join("adapter"),
        );
        let opened = Checkpoint::open(&base).unwrap();
        let input = model_input("base", &base, &opened).unwrap();
        let receipt = json!({
            "version": 1, "tool": "lora-train", "tool_version": "0", "artefact": "adapter", "out": adapter,
            "config": {}, "seed": 1, "inputs": [input], "outputs": [], "results": {}, "wall_seconds": 1.0,
            "peak_rss_bytes": 1, "host": {},
        });
        std::fs::write(adapter.join("receipt.json"), receipt.to_string()).unwrap();
        Self {
            dir,
            base,
            data,
            adapter,
        }
    }

    /// A copy of the base, with one value of a tensor changed a little.
    fn changed(&self, tensor: &str) -> PathBuf {
        let copied = copy(&self.base, &self.dir.path().join("changed"));
        let path = copied.join("model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = {
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let values = file.tensor(tensor).unwrap();
            values.data().as_ptr() as usize - bytes.as_ptr() as usize
        };
        let value = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        bytes[at..at + 4].copy_from_slice(&(value * 1.01 + 0.001).to_le_bytes());
        std::fs::write(path, bytes).unwrap();
        copied
    }

    fn eval(&self, base: &Path, more: &[&str]) -> Output {
        let adapter = ["--force", "--adapter", self.adapter.to_str().unwrap()];
        eval(
            self.dir.path(),
            base,
            &self.data,
            &[&adapter[..], more].concat(),
        )
    }
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
    to.to_path_buf()
}

#[test]
fn the_same_base_elsewhere_or_with_another_readme_is_the_same() {
    let house = House::new();
    let elsewhere = copy(&house.base, &house.dir.path().join("elsewhere"));
    std::fs::write(elsewhere.join("README.md"), "a card").unwrap();
    for base in [&house.base, &elsewhere] {
        let output = house.eval(base, &[]);
        assert_code(&output, 0);
        assert!(
            !stderr(&output).contains("trained on"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_changed_base_of_equal_shapes_is_refused_and_the_flag_goes_on() {
    let house = House::new();
    for (tensor, why) in [
        ("model.layers.0.mlp.up_proj.weight", "their weights differ"),
        ("model.embed_tokens.weight", "their weights differ"),
    ] {
        let other = house.changed(tensor);
        let output = house.eval(&other, &[]);
        assert_code(&output, 2);
        let said = stderr(&output);
        assert!(
            said.contains("adapter was trained on") && said.contains(why),
            "{said}"
        );
        let hint = format!(
            "hint: name the base that it was trained on: --base {}",
            house.base.display()
        );
        assert!(
            said.contains(&hint) && said.contains("--allow-other-base"),
            "{said}"
        );

        let output = house.eval(&other, &["--allow-other-base"]);
        assert_code(&output, 0);
        assert!(stderr(&output).contains("going on, as --allow-other-base says"));
        let config = json(&house.dir.path().join("out/receipt.json"));
        assert_eq!(config["config"]["allow-other-base"], true);
    }
}

#[test]
fn a_base_that_was_replaced_since_is_refused() {
    let house = House::new();
    let changed = house.changed("model.layers.1.self_attn.q_proj.weight");
    copy(&changed, &house.base);
    let output = house.eval(&house.base, &[]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("or train again on this one"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn another_file_of_the_same_model_is_said_in_a_line() {
    let house = House::new();
    let narrow = house.dir.path().join("narrow");
    std::fs::create_dir(&narrow).unwrap();
    let whole = Checkpoint::open(&house.base).unwrap();
    save_folder::<lora_checkpoint::Error>(&narrow, &whole, SaveDtype::BF16, |_, _, _| Ok(()))
        .unwrap();
    let output = house.eval(&narrow, &[]);
    assert_code(&output, 0);
    let said = stderr(&output);
    assert!(
        said.contains("is another file of that model, by all signs"),
        "{said}"
    );

    // The same with other norms is another model, though it also differs in type.
    let mut layers: Vec<_> = whole.tensor_names();
    layers.retain(|name| name.ends_with("norm.weight"));
    let other = house.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    save_folder::<lora_checkpoint::Error>(&other, &whole, SaveDtype::BF16, |view, _, rows| {
        if view.name().ends_with("norm.weight") {
            rows.iter_mut().for_each(|value| *value *= 1.02);
        }
        Ok(())
    })
    .unwrap();
    let output = house.eval(&other, &[]);
    assert_code(&output, 2);
    assert!(
        stderr(&output).contains("norms of the two differ"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_adapter_of_another_tool_goes_by_its_bases_name() {
    let house = House::new();
    std::fs::remove_file(house.adapter.join("receipt.json")).unwrap();
    let config = house.adapter.join("adapter_config.json");
    let mut value = json(&config);
    let named = copy(&house.base, &house.dir.path().join("Tiny-1M-Instruct"));
    for (name, base, warned) in [
        ("someone/tiny-1m-instruct-bnb-4bit", &named, false),
        ("someone/Tiny-1M", &named, true),
        (named.to_str().unwrap(), &named, false),
        ("someone/Tiny-1M-Instruct", &house.base, true),
    ] {
        value["base_model_name_or_path"] = json!(name);
        std::fs::write(&config, value.to_string()).unwrap();
        let output = house.eval(base, &[]);
        assert_code(&output, 0);
        let said = stderr(&output);
        assert_eq!(
            said.contains("nothing tells whether"),
            warned,
            "{name}: {said}"
        );
    }
}

#[test]
fn an_adapter_on_rows_that_are_written_otherwise_is_warned_of() {
    let house = House::new();
    let chat = |template: &str, system: Option<&str>| Chat {
        template: Some(template.to_owned()),
        system: system.map(str::to_owned),
    };
    let rows = chat("{{ messages }}", Some("Count."));
    let mut split = Split::read(&house.data, "valid").unwrap();
    split.template_sha256 = rows.template_sha256();
    split.chat = Some(rows.clone());
    split.write(&house.data.join("valid.parquet")).unwrap();
    for (trained, warned) in [
        (rows, false),
        // Without one text for all rows: such as rows of many texts, this one among them.
        (chat("{{ messages }}\n", None), false),
        (chat("{{ messages }}", Some("Sing.")), true),
        (chat("{{ messages }}.", Some("Count.")), true),
    ] {
        trained.write(&house.adapter).unwrap();
        let output = house.eval(&house.base, &[]);
        assert_code(&output, 0);
        let said = stderr(&output);
        let words = "its figures are of prompts that it was not trained on";
        assert_eq!(said.contains(words), warned, "{trained:?}: {said}");
    }
}

/// Rows that were trained on are counted and said; where the dataset isn't what it was, nothing is claimed.
#[test]
fn rows_that_were_trained_on_are_counted() {
    let house = House::new();
    let rows = examples(CASES[0]);
    let trained = dataset(&house.dir.path().join("trained"), rows[..2].to_vec(), None);
    std::fs::rename(trained.join("valid.parquet"), trained.join("train.parquet")).unwrap();
    let path = house.adapter.join("receipt.json");
    let mut receipt = json(&path);
    let hash = lora_receipt::hash_path(&trained).unwrap();
    let input = json!({"name": "data", "path": trained, "sha256": hash});
    receipt["inputs"].as_array_mut().unwrap().push(input);
    std::fs::write(&path, receipt.to_string()).unwrap();
    let evaluate = || {
        let output = house.eval(&house.base, &[]);
        assert_code(&output, 0);
        let report = json(&house.dir.path().join("out/report.json"));
        (
            stderr(&output),
            report["models"][1]["rows_trained_on"].clone(),
        )
    };
    let (said, count) = evaluate();
    let expected = format!("was trained on 2 of the {} rows measured", rows.len());
    assert!(
        said.contains(&expected)
            && said
                .lines()
                .filter(|line| line.contains("trained on"))
                .count()
                == 1,
        "{said}"
    );
    assert_eq!(count, json!(2));
    std::fs::write(trained.join("more.txt"), "x").unwrap();
    let (said, count) = evaluate();
    assert!(!said.contains("was trained on"), "{said}");
    assert_eq!(count, json!(null));
}
