//! Runs made to fail in every way that the doctor knows, and a healthy one.
mod outputs;
mod rows;
mod training;

use lora_plan::{Cause, Finding, diagnose};
use std::collections::BTreeSet;
use std::path::Path;

/// A good rate on the embedded model.
const RATE: &str = "5e-3";

fn findings(run: &Path) -> Vec<Finding> {
    let mut all = diagnose(run).unwrap_or_else(|e| panic!("{}", e.render(str::to_owned)));
    assert_eq!(all.len(), 1, "{all:?}");
    outputs(&all[0].findings);
    all.remove(0).findings
}

/// What the commands write, in their order: each its own, and nothing that lies there, unless that is to be replaced.
fn outputs<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<String> {
    let commands = findings
        .into_iter()
        .flat_map(|f| &f.changes)
        .filter_map(|change| change.command.as_deref());
    let mut found = Vec::new();
    for command in commands.filter(|command| !command.contains(" --force ")) {
        let Some((_, out)) = command.rsplit_once(" --out ") else {
            assert!(command.starts_with("lora-prep show "), "{command}");
            continue;
        };
        assert!(!Path::new(out).exists(), "{command}");
        found.push(out.to_owned());
    }
    assert_eq!(
        found.iter().collect::<BTreeSet<_>>().len(),
        found.len(),
        "{found:#?}"
    );
    found
}

fn causes(findings: &[Finding]) -> Vec<Cause> {
    findings.iter().map(|finding| finding.cause).collect()
}

/// The first finding is this one, has evidence, and its first command can be run as it stands.
fn first(findings: &[Finding], cause: Cause) -> &Finding {
    assert_eq!(
        findings.first().map(|f| f.cause),
        Some(cause),
        "{findings:#?}"
    );
    assert!(
        !findings[0].evidence.is_empty() && !findings[0].changes.is_empty(),
        "{findings:#?}"
    );
    for command in findings
        .iter()
        .flat_map(|f| &f.changes)
        .filter_map(|change| change.command.as_ref())
    {
        if let Some(flags) = command.strip_prefix("lora-train ") {
            let words = std::iter::once("lora-train").chain(flags.split(' '));
            <lora_train::Args as clap::Parser>::try_parse_from(words)
                .unwrap_or_else(|e| panic!("{command}\n{e}"));
        }
    }
    &findings[0]
}
