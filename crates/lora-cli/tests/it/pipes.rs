//! The last line of an upstream tool's stdout is its receipt.
use lora_cli::{artefact_from, artefact_input};
use lora_receipt::{Artefact, Receipt};
use std::path::Path;

fn receipt(artefact: Artefact) -> String {
    let receipt = Receipt {
        version: 1,
        tool: "lora-prep".into(),
        tool_version: "0.1.0".into(),
        artefact,
        out: "d".into(),
        config: serde_json::json!({}),
        seed: None,
        inputs: vec![],
        outputs: vec![],
        results: serde_json::json!({}),
        measured: serde_json::json!({}),
        wall_seconds: 0.0,
        peak_rss_bytes: 0,
        host: serde_json::json!({}),
        kept_aside: None,
    };
    serde_json::to_string(&receipt).unwrap()
}

fn refused(stdin: &str) -> String {
    artefact_from(stdin, Artefact::Dataset)
        .unwrap_err()
        .render(str::to_owned)
}

#[test]
fn the_last_line_names_the_artefact() {
    let stdin = format!("{{\"rows\": 3}}\n{}\n\n", receipt(Artefact::Dataset));
    assert_eq!(
        artefact_from(&stdin, Artefact::Dataset).unwrap(),
        Path::new("d")
    );
}

#[test]
fn an_upstream_that_failed_is_told() {
    assert_eq!(
        refused(" \n"),
        "error: no receipt came through the pipe\n\
         hint: the tool before the `|` failed or wrote nothing: its own error is above\n"
    );
}

#[test]
fn another_kind_is_refused() {
    assert_eq!(
        refused(&receipt(Artefact::Adapter)),
        "error: expected a dataset on stdin, but lora-prep made an adapter (d)\n\
         hint: put the tool that makes a dataset before the `|`, or name a dataset in place of `-`\n"
    );
}

#[test]
fn another_version_is_refused() {
    let error = refused(&receipt(Artefact::Dataset).replace("\"version\":1", "\"version\":9"));
    assert!(
        error.starts_with("error: the last line of stdin is a receipt of version 9"),
        "{error}"
    );
}

#[test]
fn what_is_no_receipt_is_refused_with_a_hint() {
    for (line, what) in [
        ("hello", "is not valid JSON"),
        ("{}", "it has no version"),
        ("[1]", "it has no version"),
    ] {
        let error = refused(line);
        assert!(
            error.starts_with("error: the last line of stdin is") && error.contains(what),
            "{error}"
        );
        assert!(
            error.contains("\nhint: `-` takes the JSON lines of a lora tool"),
            "{error}"
        );
    }
}

#[test]
fn a_missing_path_is_named() {
    let error = artefact_input(Path::new("no/such"), Artefact::Adapter).unwrap_err();
    assert_eq!(
        error.render(str::to_owned),
        "error: failed to open an adapter at no/such\ncause: No such file or directory\nhint: check the path; a model or dataset of the hub is written hub:no/such\n"
    );
    for nothing_of_the_hub in ["no/such/adapter", "./no/such", "src/such", "such"] {
        let path = Path::new(nothing_of_the_hub);
        let error = artefact_input(path, Artefact::Adapter).unwrap_err();
        assert!(
            !error.render(str::to_owned).contains("hub:"),
            "{}",
            path.display()
        );
    }
}
