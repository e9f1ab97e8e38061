//! report.json against its JSON Schema, with a validator of the keywords that the schema has.
use crate::harness::{
    CASES, assert_code, base_with_tokenizer, case, dataset, eval, eval_by, examples, json,
};
use lora_records::Report;
use serde_json::{Value, json};

/// Where a value does not fit, and why; keywords that are not known fail.
fn faults(value: &Value, schema: &Value, root: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#").unwrap();
                faults.extend(faults_of(value, root.pointer(name).unwrap(), root, at));
            }
            "const" if value == wanted => {}
            "enum" if wanted.as_array().unwrap().contains(value) => {}
            "minimum" if value.as_f64().is_none_or(|x| x >= wanted.as_f64().unwrap()) => {}
            "minItems"
                if value
                    .as_array()
                    .is_none_or(|a| a.len() as u64 >= wanted.as_u64().unwrap()) => {}
            "type" if is_of(value, wanted) => {}
            "anyOf"
                if wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|s| faults_of(value, s, root, at).is_empty()) => {}
            "required" => {
                let missing = wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|key| value.get(key.as_str().unwrap()).is_none());
                faults.extend(missing.map(|key| format!("{at}: {key} is missing")));
            }
            "properties" => {
                for (key, schema) in wanted.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        faults.extend(faults_of(value, schema, root, &format!("{at}.{key}")));
                    }
                }
                let known = wanted.as_object().unwrap();
                let own = value.as_object().into_iter().flatten();
                let unknown = own.filter(|(key, _)| !known.contains_key(*key));
                faults.extend(unknown.map(|(key, _)| format!("{at}.{key} is not in the schema")));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults.extend(faults_of(item, wanted, root, &format!("{at}[{index}]")));
                }
            }
            _ => faults.push(format!("{at}: {keyword} {wanted} does not hold of {value}")),
        }
    }
    faults
}

fn faults_of(value: &Value, schema: &Value, root: &Value, at: &str) -> Vec<String> {
    faults(value, schema, root, at)
}

fn is_of(value: &Value, wanted: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match wanted {
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        name => is(name.as_str().unwrap()),
    }
}

#[test]
fn a_report_with_everything_fits_its_schema_and_nothing_else_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let rows = examples(CASES[0]).into_iter().map(|mut row| {
        row.prompt = "p".to_owned();
        row
    });
    let data = dataset(dir.path(), rows.collect(), None);
    let (trained, random) = (
        case(CASES[0]).join("adapter_trained"),
        case(CASES[0]).join("adapter"),
    );
    let guard = data.to_str().unwrap();
    let flags = [
        "--adapter",
        trained.to_str().unwrap(),
        "--adapter",
        random.to_str().unwrap(),
        "--slice",
        "group",
        "--guard",
        guard,
        "--max-drop",
        "9",
        "--gate",
        "loss <= 100",
        "--metrics",
        "chrf,rouge_l",
        "--max-new-tokens",
        "3",
    ];
    let output = eval(dir.path(), &base, &data, &flags);
    assert!(
        output.status.code().is_some_and(|code| code < 2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let schema: Value = serde_json::from_str(Report::SCHEMA).unwrap();
    let report = json(&dir.path().join("out/report.json"));
    assert!(!report["slices"].as_array().unwrap().is_empty() && report["guard"].is_object());
    assert_eq!(
        faults(&report, &schema, &schema, "report"),
        Vec::<String>::new()
    );
}

#[test]
fn the_validator_finds_what_does_not_fit() {
    let schema: Value = serde_json::from_str(Report::SCHEMA).unwrap();
    let wrong = json!({"version": 2, "base": 1, "models": [], "rows": -1, "more": 0});
    let found = faults(&wrong, &schema, &schema, "report").join("\n");
    for fault in [
        "const 1",
        "report.base",
        "minItems",
        "minimum",
        "\"gates\" is missing",
        "report.more",
    ] {
        assert!(found.contains(fault), "{fault} in\n{found}");
    }
}

#[test]
fn a_page_without_scripts_stands_beside_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_with_tokenizer(dir.path(), CASES[0]);
    let hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>";
    let rows = examples(CASES[0]).into_iter().map(|mut row| {
        row.prompt = hostile.to_owned();
        row
    });
    let data = dataset(dir.path(), rows.collect(), None);
    assert_code(
        &eval(dir.path(), &base, &data, &["--max-new-tokens", "3"]),
        0,
    );
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    let lower = page.to_lowercase();
    for never in [
        "<script",
        "<img",
        "javascript:",
        "http://",
        "https://",
        "<link rel=\"stylesheet",
        "@import",
        "url(",
    ] {
        assert!(!lower.contains(never), "{never}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("default-src 'none'"));
    let tags = lower
        .split('<')
        .skip(1)
        .map(|tag| tag.split(['>', '"']).next().unwrap());
    assert!(tags.clone().count() > 100);
    assert!(
        tags.into_iter().all(|tag| !tag.contains(" on")),
        "no event handler"
    );
    assert!(!page.contains("threads"), "it changes no byte");
    let flags = ["--max-new-tokens", "3", "--force"];
    assert_code(&eval_by(3, dir.path(), &base, &data, &flags), 0);
    let again = std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    assert_eq!(again, page, "flags without effect change no byte");
}
