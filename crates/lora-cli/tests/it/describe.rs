//! What a tool tells of its flags.
use clap::CommandFactory;

/// A tool.
#[derive(clap::Parser)]
#[command(name = "lora-test", version = "1.2.3")]
struct Args {
    /// Raw files.
    raw: Vec<String>,
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

#[test]
fn every_flag_is_described_and_help_is_not_one() {
    let told = lora_cli::describe(Args::command());
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
        ["raw", "lr", "target-modules", "rslora", "json", "quiet"]
    );
    let of = |key: &str| {
        flags
            .iter()
            .map(|flag| flag[key].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("positional"), [true, false, false, false, false, false]);
    assert_eq!(of("required"), [false, true, false, false, false, false]);
    assert_eq!(of("takes_value"), [true, true, true, false, false, false]);
    assert_eq!(of("repeated"), [true, false, true, false, false, false]);
    assert_eq!(flags[2]["delimiter"], ",");
    assert_eq!(flags[1]["help"], "Learning rate");
}
