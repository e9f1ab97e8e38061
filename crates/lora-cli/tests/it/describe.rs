//! What a tool tells of its flags.
use lora_records::Kind;
use std::path::PathBuf;

/// A tool.
#[derive(clap::Parser)]
#[command(name = "lora-test", version = "1.2.3")]
struct Args {
    /// Raw files.
    raw: Vec<PathBuf>,
    /// Learning rate.
    #[arg(long)]
    lr: f64,
    /// Targets.
    #[arg(long = "target-modules", value_delimiter = ',')]
    targets: Vec<String>,
    #[arg(long)]
    rslora: bool,
    #[command(flatten)]
    common: lora_cli::Common,
}

impl lora_cli::ToolArgs for Args {
    fn common(&self) -> &lora_cli::Common {
        &self.common
    }
}

/// A tool that writes, on as many threads as one likes.
#[derive(clap::Parser)]
#[command(name = "lora-write")]
struct Writes {
    /// Rows.
    #[arg(long, default_value = "3")]
    rows: usize,
    /// Share.
    #[arg(long, default_value_t = 0.5)]
    share: f64,
    #[arg(long)]
    out: PathBuf,
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    common: lora_cli::Common,
}

impl lora_cli::ToolArgs for Writes {
    fn common(&self) -> &lora_cli::Common {
        &self.common
    }
}

#[test]
fn types_defaults_and_what_paths_are_for() {
    let told = lora_cli::describe::<Writes>();
    let of = |name: &str| told.flags.iter().find(|flag| flag.name == name).unwrap();
    assert_eq!(
        (of("rows").kind, of("rows").default.as_deref()),
        (Kind::Integer, Some("3"))
    );
    assert_eq!(
        (of("share").kind, of("share").default.as_deref()),
        (Kind::Number, Some("0.5"))
    );
    assert_eq!(
        (of("note").kind, of("note").default.as_deref()),
        (Kind::Text, None)
    );
    assert_eq!(
        (of("json").kind, of("json").default.as_deref()),
        (Kind::Switch, None)
    );
    assert_eq!(
        (of("out").kind, of("out").role),
        (Kind::Path, Some(lora_records::Role::Output))
    );
    assert!(!of("threads").changes_result && of("rows").changes_result);
    let raw = &lora_cli::describe::<Args>().flags[0];
    assert_eq!(
        (raw.kind, raw.role),
        (Kind::Path, Some(lora_records::Role::Input))
    );
}

#[test]
fn every_flag_is_described_and_help_is_not_one() {
    let told = serde_json::to_value(lora_cli::describe::<Args>()).unwrap();
    assert_eq!(
        (told["tool"].as_str(), told["version"].as_str()),
        (Some("lora-test"), Some("1.2.3"))
    );
    let flags = told["flags"].as_array().unwrap();
    let names: Vec<_> = flags
        .iter()
        .map(|flag| flag["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "raw",
            "lr",
            "target-modules",
            "rslora",
            "json",
            "print",
            "quiet"
        ]
    );
    let of = |key: &str| {
        flags
            .iter()
            .map(|flag| flag[key].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(flags[1]["type"], "number");
    assert_eq!(
        of("positional"),
        [true, false, false, false, false, false, false]
    );
    assert_eq!(
        of("required"),
        [false, true, false, false, false, false, false]
    );
    assert_eq!(
        of("takes_value"),
        [true, true, true, false, false, true, false]
    );
    assert_eq!(
        of("repeated"),
        [true, false, true, false, false, false, false]
    );
    assert_eq!(flags[2]["delimiter"], ",");
    assert_eq!(flags[1]["help"], "Learning rate");
}
