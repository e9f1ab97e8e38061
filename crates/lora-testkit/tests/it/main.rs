//! What people see of the tools: every `--help`, mistakes and their hints, plans, reports, against `tests/snapshots`.
//!
//! `just snapshots` writes them anew after a change that is meant; the diff is then part of the commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may fail loudly, in its helpers too
mod changed;
mod chats;
mod clean;
mod families;
mod help;
mod hub;
mod limits;
mod mistakes;
mod session;
mod tokens;
mod work;

/// Compares a text with `tests/snapshots/NAME.snap`.
fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(lora_testkit::repository("tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
