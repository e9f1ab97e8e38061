//! How a tool ends, for people and machines: its exit code, and the labels of its last lines.

/// Exit codes, as promised in the README.
pub(crate) const NO: u8 = 1;
pub(crate) const FAILED: u8 = 2;
/// It was asked to stop.
pub(crate) const INTERRUPT: u8 = 130;

/// Bold labels, red for what went wrong; anstream takes the colours off where they don't belong.
pub(crate) fn paint(label: &str) -> String {
    let colour = match label {
        "error:" | "no:" => "1;31",
        "hint:" => "1;36",
        _ => "1",
    };
    format!("\u{1b}[{colour}m{label}\u{1b}[0m")
}
