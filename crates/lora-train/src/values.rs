//! Values of flags: what a number may be.

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number, 1 or more".to_owned()),
    }
}

/// A whole number that means something here: beyond `most` lie slips of the finger, and sizes that no machine can hold.
fn within(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from 1 to {most}")),
    }
}

/// Largest rank of a module.
pub(crate) const MOST_RANK: usize = 1 << 16;

pub(crate) fn rank(text: &str) -> Result<usize, String> {
    within(text, MOST_RANK)
}

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    within(text, 1024)
}

pub(crate) fn accumulation(text: &str) -> Result<usize, String> {
    within(text, 1 << 20)
}

fn number(text: &str, expected: &str, accept: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && accept(x) => Ok(x),
        _ => Err(format!("expected {expected}")),
    }
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |x| x > 0.0)
}

pub(crate) fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "a number, 0 or more", |x| x >= 0.0)
}

pub(crate) fn below_one(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to below 1", |x| {
        (0.0..1.0).contains(&x)
    })
}

pub(crate) fn warmup(text: &str) -> Result<f64, String> {
    let accept = |x: f64| (0.0..1.0).contains(&x) || (x >= 1.0 && x.fract() == 0.0);
    number(
        text,
        "a share of the run (0 to below 1) or a whole number of steps",
        accept,
    )
}
