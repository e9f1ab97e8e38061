//! What is chosen of repositories as they are laid out.
use super::{Entry, Name, Want};
use std::path::Path;

fn entries(files: &[&str]) -> Vec<Entry> {
    let entry = |path: &&str| Entry {
        path: (*path).to_owned(),
        bytes: 1,
        etag: String::new(),
    };
    files.iter().map(entry).collect()
}

#[test]
fn only_what_is_needed_is_chosen() {
    type Case = (
        Want,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        &'static str,
    );
    let cases: [Case; 14] = [
        (
            Want::Model,
            "hub:o/n",
            &[
                "README.md",
                "config.json",
                "model.safetensors",
                "pytorch_model.bin",
                "tokenizer.json",
                "chat_template.jinja",
                "additional_chat_templates/tools.jinja",
                "onnx/model.onnx",
                "consolidated.safetensors",
                "original/x.pth",
            ],
            &[
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "chat_template.jinja",
                "additional_chat_templates/tools.jinja",
            ],
            "",
        ),
        (
            Want::Model,
            "hub:o/n",
            &[
                "config.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
            ],
            &[
                "config.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
            ],
            "",
        ),
        (
            Want::Model,
            "hub:o/n/m.Q4.gguf",
            &["m.Q4.gguf", "m.Q8.gguf"],
            &["m.Q4.gguf"],
            "m.Q4.gguf",
        ),
        (
            Want::Model,
            "hub:o/n",
            &["README.md", "m.Q4.gguf"],
            &["m.Q4.gguf"],
            "m.Q4.gguf",
        ),
        (
            Want::Model,
            "hub:o/n/BF16",
            &[
                "Q4/m.gguf",
                "BF16/m-00001-of-00002.gguf",
                "BF16/m-00002-of-00002.gguf",
            ],
            &["BF16/m-00001-of-00002.gguf", "BF16/m-00002-of-00002.gguf"],
            "BF16",
        ),
        (
            Want::Model,
            "hub:o/n/m-00002-of-00002.gguf",
            &[
                "m-00001-of-00002.gguf",
                "m-00002-of-00002.gguf",
                "q-00001-of-00002.gguf",
            ],
            &["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
            "",
        ),
        (
            Want::Model,
            "hub:o/n/sub",
            &["config.json", "sub/config.json", "sub/model.safetensors"],
            &["sub/config.json", "sub/model.safetensors"],
            "sub",
        ),
        (
            Want::Shape,
            "hub:o/n",
            &["config.json", "model.safetensors"],
            &["config.json"],
            "",
        ),
        (
            Want::Adapter,
            "hub:o/n",
            &[
                "adapter_config.json",
                "adapter_model.safetensors",
                "training_args.bin",
                "checkpoint-1/adapter_model.safetensors",
            ],
            &["adapter_config.json", "adapter_model.safetensors"],
            "",
        ),
        (
            Want::Dataset,
            "hub:o/n",
            &[
                "dataset.json",
                "train.parquet",
                "tokenizer/tokenizer.json",
                "more/rows.jsonl",
                "README.md",
            ],
            &["dataset.json", "train.parquet", "tokenizer/tokenizer.json"],
            "",
        ),
        (
            Want::Rows,
            "hub:o/n",
            &["README.md", "data/train-0.parquet", "data/test-0.parquet"],
            &["data/train-0.parquet", "data/test-0.parquet"],
            "",
        ),
        (
            Want::Rows,
            "hub:o/n",
            &["train.jsonl.gz", "data/other.jsonl"],
            &["train.jsonl.gz"],
            "",
        ),
        (
            Want::Rows,
            "hub:o/n/rows/a.csv",
            &["rows/a.csv", "train.jsonl"],
            &["rows/a.csv"],
            "rows/a.csv",
        ),
        (
            Want::Rows,
            "hub:o/n",
            &[
                "dataset_dict.json",
                "train/state.json",
                "train/data.arrow",
                "train/dataset_info.json",
            ],
            &["dataset_dict.json", "train/state.json", "train/data.arrow"],
            "",
        ),
    ];
    for (want, name, all, expected, place) in cases {
        let name = Name::parse(Path::new(name)).unwrap();
        let chosen = want.choose(&name, &entries(all)).unwrap();
        let files: Vec<&str> = chosen
            .files
            .iter()
            .map(|entry| entry.path.as_str())
            .collect();
        assert_eq!(
            (files, chosen.place.as_str()),
            (expected.to_vec(), place),
            "{name}"
        );
    }
}

#[test]
fn what_can_t_be_chosen_is_said() {
    let cases: [(Want, &str, &[&str], &str); 9] = [
        (
            Want::Model,
            "hub:o/n",
            &["config.json", "pytorch_model.bin"],
            "pickle",
        ),
        (
            Want::Model,
            "hub:o/n/pytorch_model.bin",
            &["config.json", "pytorch_model.bin"],
            "pickle",
        ),
        (
            Want::Adapter,
            "hub:o/n",
            &["adapter_config.json", "adapter_model.bin"],
            "pickle",
        ),
        (
            Want::Model,
            "hub:o/n",
            &["a.gguf", "b.gguf"],
            "2 GGUF files",
        ),
        (
            Want::Model,
            "hub:o/n",
            &["adapter_config.json"],
            "is an adapter",
        ),
        (
            Want::Adapter,
            "hub:o/n",
            &["config.json"],
            "holds no adapter",
        ),
        (
            Want::Dataset,
            "hub:o/n",
            &["train.jsonl"],
            "no dataset.json",
        ),
        (Want::Rows, "hub:o/n", &["README.md"], "no files of rows"),
        (
            Want::Model,
            "hub:o/n/c.gguf",
            &["a.gguf"],
            "holds no such file",
        ),
    ];
    for (want, name, all, expected) in cases {
        let name = Name::parse(Path::new(name)).unwrap();
        let error = want.choose(&name, &entries(all)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
