//! Values of flags that this tool alone has.
use lora_cli::values::{number, within};

pub(crate) fn accumulation(text: &str) -> Result<usize, String> {
    within(text, 1..=1 << 20)
}

pub(crate) fn warmup(text: &str) -> Result<f64, String> {
    let accept = |x: f64| (0.0..1.0).contains(&x) || (x >= 1.0 && x.fract() == 0.0);
    number(
        text,
        "a share of the run (0 to below 1) or a whole number of steps",
        accept,
    )
}
