//! The invariants of crates/README.md, read from `cargo metadata` and from the sources.
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The ground: it depends on no other crate of the house, so that every other may depend on it.
const GROUND: &str = "lora-random";
/// Every crate and its level; a crate depends only on lower levels.
pub(crate) const LEVELS: [(&str, usize); 20] = [
    (GROUND, 0),
    ("lora-receipt", 0),
    ("lora-records", 0),
    ("lora-checkpoint", 0),
    ("lora-kernels", 0),
    ("lora-gpu", 0),
    ("lora-core", 0),
    ("lora-hub", 0),
    ("lora-data", 1),
    ("lora-model", 1),
    ("lora-cli", 1),
    ("lora-training", 2),
    ("lora-prep", TOOL),
    ("lora-train", TOOL),
    ("lora-eval", TOOL),
    ("lora-chat", TOOL),
    ("lora-merge", TOOL),
    ("lora-export", TOOL),
    ("lora-plan", TOOL),
    ("lora-run", TOOL),
];
/// Crates for tests only: no tool is built with them.
const FOR_TESTS: [&str; 2] = ["lora-testkit", "lora-fuzz"];
/// The level of the tools: verbs, of which none depends on another.
pub(crate) const TOOL: usize = 3;
/// What lora-run and the crates below it must not know of.
const ML: [&str; 10] = [
    "cudarc",
    "candle-core",
    "candle-transformers",
    "tokenizers",
    "safetensors",
    "gemm",
    "arrow",
    "parquet",
    "polars",
    "half",
];
/// Files that may hold `unsafe`: arithmetic on raw slices, a GPU's driver, mapped files, one environment variable, and what
/// is said where there is no memory.
const UNSAFE: [&str; 6] = [
    "lora-kernels/src/",
    "lora-gpu/src/",
    "lora-checkpoint/src/",
    "lora-cli/src/entry.rs",
    "lora-cli/src/allocation.rs",
    "lora-cli/src/last_words.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each crate's direct dependencies (without those of its tests).
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let named = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(named)
            .collect()
    };
    packages
        .iter()
        .map(|package| (named(package), of(package)))
        .filter(|(name, _)| !FOR_TESTS.contains(&name.as_str()))
        .collect()
}

fn level(name: &str) -> Option<usize> {
    LEVELS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, level)| *level)
}

#[test]
fn a_crate_depends_only_on_lower_levels() {
    let all = dependencies();
    assert_eq!(
        all.len(),
        LEVELS.len(),
        "a new crate needs a level here and a line in crates/README.md"
    );
    for (name, needs) in &all {
        let mine = level(name).unwrap_or_else(|| panic!("{name} has no level"));
        let house = |needed: &&String| needed.starts_with("lora-");
        if name == GROUND {
            assert_eq!(needs.iter().find(house), None, "{GROUND} is the ground");
        }
        for below in needs
            .iter()
            .filter(house)
            .filter(|needed| *needed != GROUND)
        {
            let theirs = level(below).unwrap_or_else(|| panic!("{below} has no level"));
            assert!(
                theirs < mine,
                "{name} (level {mine}) must not depend on {below} (level {theirs})"
            );
        }
    }
}

#[test]
fn only_verbs_talk() {
    for (name, needs) in dependencies() {
        let is_verb = level(&name) == Some(TOOL);
        assert!(
            is_verb || !needs.iter().any(|needed| needed == "lora-cli"),
            "{name} depends on lora-cli"
        );
        let verbs = needs
            .iter()
            .filter(|needed| level(needed) == Some(TOOL))
            .count();
        assert_eq!(verbs, 0, "{name} depends on a tool");
    }
}

#[test]
fn lora_run_knows_nothing_of_models() {
    let all = dependencies();
    let mut reached = vec!["lora-run".to_owned()];
    let mut next = 0;
    while let Some(name) = reached.get(next).cloned() {
        for needed in all.get(&name).into_iter().flatten() {
            assert!(!ML.contains(&needed.as_str()), "{name} depends on {needed}");
            if needed.starts_with("lora-") && !reached.contains(needed) {
                reached.push(needed.clone());
            }
        }
        next += 1;
    }
    reached.sort();
    assert_eq!(
        reached,
        [
            "lora-cli",
            "lora-hub",
            "lora-receipt",
            "lora-records",
            "lora-run"
        ]
    );
}

#[test]
fn lora_core_knows_no_architecture() {
    let all = dependencies();
    assert!(
        !all["lora-core"]
            .iter()
            .any(|needed| needed.starts_with("lora-") && needed != GROUND),
        "{:?}",
        all["lora-core"]
    );
}

#[test]
fn every_crate_is_on_the_map() {
    let map = std::fs::read_to_string(root().join("crates/README.md")).unwrap();
    for (name, _) in LEVELS {
        assert!(
            map.contains(&format!("| `{name}` |")),
            "{name} is missing in crates/README.md"
        );
        assert!(
            root().join("crates").join(name).is_dir(),
            "the folder of {name} is not called so"
        );
    }
}

/// All Rust sources of the crates (not of their tests), with their path below `crates/`.
pub(crate) fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in
            std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let crates = root().join("crates");
    let mut found = Vec::new();
    for (name, _) in LEVELS {
        let before = found.len();
        walk(&crates.join(name).join("src"), &mut found);
        assert!(found.len() > before, "no sources in {name}");
    }
    let named = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (
            path.strip_prefix(&crates)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/"),
            text,
        )
    };
    let mut sources: Vec<_> = found.into_iter().map(named).collect();
    sources.sort();
    assert!(sources.len() >= 100, "walked only {} files", sources.len());
    sources
}

/// Lines of code, without comments.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()));
    lines.filter(|(_, line)| !line.trim().is_empty())
}

#[test]
fn only_lora_cli_prints_or_exits() {
    let talks = [
        "println!",
        "print!(",
        "eprint!(",
        "dbg!(",
        "process::exit",
        "process::abort",
        "io::stdout(",
        "io::stderr(",
    ];
    // A signal's handler can hand nothing back.
    let may_talk =
        |path: &str| path.starts_with("lora-cli/") || path == "lora-checkpoint/src/lost.rs";
    for (path, text) in sources().into_iter().filter(|(path, _)| !may_talk(path)) {
        for (number, line) in code(&text) {
            let found = talks.iter().find(|word| line.contains(**word));
            assert!(
                found.is_none(),
                "{path}:{number}: {found:?} belongs into lora-cli"
            );
        }
    }
}

/// Families are named in their files and nowhere else. llama.cpp calls kinds of tokenizers by some of the same words.
#[test]
fn a_family_is_named_in_its_file_alone() {
    let all = sources();
    let folder = "lora-checkpoint/src/families/";
    let mut names = Vec::new();
    for (_, text) in all.iter().filter(|(path, _)| path.starts_with(folder)) {
        for key in ["model_type: \"", "architecture: \""] {
            let values = code(text).filter_map(|(_, line)| line.split_once(key));
            names.extend(values.map(|(_, rest)| rest.split('"').next().unwrap_or_default()));
        }
    }
    names.retain(|name| !name.is_empty());
    assert!(names.len() >= 24, "found only {names:?}");
    let elsewhere = all.iter().filter(|(path, _)| {
        let is_named_so = path.starts_with("lora-checkpoint/src/tokenizer/");
        !path.starts_with(folder) && !is_named_so && !path.ends_with("/tests.rs")
    });
    for (path, text) in elsewhere {
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code(shipped) {
            let found = names
                .iter()
                .find(|name| line.contains(&format!("\"{name}\"")));
            assert_eq!(found, None, "{path}:{number} names a family");
        }
    }
}

#[test]
fn unsafe_stands_where_the_map_says() {
    for (path, text) in sources()
        .into_iter()
        .filter(|(path, _)| !UNSAFE.iter().any(|place| path.starts_with(place)))
    {
        for (number, line) in code(&text) {
            let found = ["unsafe {", "unsafe fn", "unsafe impl"]
                .iter()
                .any(|word| line.contains(word));
            assert!(!found, "{path}:{number}: unsafe code does not belong here");
        }
    }
}

#[test]
fn a_tool_s_main_is_a_doorbell_and_every_file_says_what_lives_there() {
    let mut doorbells = 0;
    for (path, text) in sources() {
        assert!(
            text.starts_with("//!"),
            "{path} does not begin with a `//!` line"
        );
        if path.ends_with("/src/main.rs") {
            doorbells += 1;
            assert!(text.lines().count() <= 15, "{path} is more than a doorbell");
        }
    }
    assert_eq!(
        doorbells,
        LEVELS.iter().filter(|(_, level)| *level == TOOL).count()
    );
}

#[test]
fn no_tool_is_built_with_crates_for_tests() {
    for (name, needs) in dependencies() {
        let found = needs
            .iter()
            .find(|needed| FOR_TESTS.contains(&needed.as_str()));
        assert!(found.is_none(), "{name} depends on {found:?}");
    }
}

#[test]
fn every_crate_is_tested_with_its_checks_on() {
    let settings = std::fs::read_to_string(root().join("tests/checked.toml")).unwrap();
    let mut crates = 0;
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        if path.join("Cargo.toml").is_file() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let table = format!(
                "[profile.release.package.{name}]\ndebug-assertions = true\noverflow-checks = true\n"
            );
            assert!(settings.contains(&table), "tests/checked.toml: {name}");
            crates += 1;
        }
    }
    assert!(crates >= LEVELS.len());
}

/// A library's hint is a field of its error (miette's help): nothing writes it into a message, to be searched for later.
#[test]
fn hints_are_fields() {
    let inside = |path: &str| path == "lora-cli/src/last_words.rs"; // no memory for an error with fields
    for (path, text) in sources().into_iter().filter(|(path, _)| !inside(path)) {
        for (number, line) in code(&text) {
            let line = line.trim();
            let continued = line.starts_with("hint: ") && line.ends_with('"');
            let found = continued || line.contains("\\nhint:");
            assert!(!found, "{path}:{number}: a hint inside a message");
        }
    }
}
