//! What the values of flags may be: the same sentence refuses the same slip in every tool.
use std::ops::RangeInclusive;

/// Largest rank of a module.
pub const MOST_RANK: usize = 1 << 16;
/// Most threads of a process.
const MOST_THREADS: usize = 1024;
/// Most tokens of a row.
const MOST_LENGTH: usize = 1 << 20;

/// A whole number within bounds: beyond them lie slips of the finger, and sizes that no machine can hold.
///
/// # Errors
/// What was expected instead.
pub fn within(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let (least, most) = (range.start(), range.end());
    match text.trim().parse() {
        Ok(n) if range.contains(&n) => Ok(n),
        _ if *most == usize::MAX => Err(format!("expected a whole number, {least} or more")),
        _ => Err(format!("expected a whole number from {least} to {most}")),
    }
}

/// A whole number, 1 or more.
///
/// # Errors
/// What was expected instead.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    within(text, 1..=usize::MAX)
}

/// A rank.
///
/// # Errors
/// What was expected instead.
pub fn rank(text: &str) -> Result<usize, String> {
    within(text, 1..=MOST_RANK)
}

/// A number of threads.
///
/// # Errors
/// What was expected instead.
pub fn threads(text: &str) -> Result<usize, String> {
    within(text, 1..=MOST_THREADS)
}

/// A number of tokens: of a row, or to generate.
///
/// # Errors
/// What was expected instead.
pub fn tokens(text: &str) -> Result<usize, String> {
    within(text, 1..=MOST_LENGTH)
}

/// The length of a row that can be learned from: a token, and one that follows it.
///
/// # Errors
/// What was expected instead.
pub fn length(text: &str) -> Result<usize, String> {
    within(text, 2..=MOST_LENGTH)
}

/// A finite number that `accept` takes.
///
/// # Errors
/// `expected`, in a sentence.
pub fn number(text: &str, expected: &str, accept: impl Fn(f64) -> bool) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(x) if x.is_finite() && accept(x) => Ok(x),
        _ => Err(format!("expected {expected}")),
    }
}

/// A number above 0.
///
/// # Errors
/// What was expected instead.
pub fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |x| x > 0.0)
}

/// A number, 0 or more.
///
/// # Errors
/// What was expected instead.
pub fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "a number, 0 or more", |x| x >= 0.0)
}

/// A share of something that must leave a rest.
///
/// # Errors
/// What was expected instead.
pub fn below_one(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to below 1", |x| {
        (0.0..1.0).contains(&x)
    })
}

/// A share of something, up to all of it.
///
/// # Errors
/// What was expected instead.
pub fn share(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 1 (90 % is 0.9)", |x| {
        (0.0..=1.0).contains(&x)
    })
}

/// A share of something that must leave some of it.
///
/// # Errors
/// What was expected instead.
pub fn part(text: &str) -> Result<f64, String> {
    number(text, "a number above 0, 1 or less", |x| x > 0.0 && x <= 1.0)
}

/// Bytes as people write them: 700MB, 2GiB, 1.5G, 4096M, 900000000.
///
/// # Errors
/// What was expected instead.
pub fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 11] = [
        ("", 1.0),
        ("b", 1.0),
        ("k", 1024.0),
        ("kib", 1024.0),
        ("m", 1048576.0),
        ("mib", 1048576.0),
        ("g", 1073741824.0),
        ("gib", 1073741824.0),
        ("kb", 1e3),
        ("mb", 1e6),
        ("gb", 1e9),
    ];
    match measured(text, &UNITS) {
        Some(bytes) if bytes < 1e18 => Ok(bytes as u64),
        _ => Err("expected a size such as 700MB, 2GiB or 1.5G".to_owned()),
    }
}

/// Seconds as people write them: 90, 45s, 20m, 20min, 1.5h.
///
/// # Errors
/// What was expected instead.
pub fn seconds(text: &str) -> Result<f64, String> {
    const UNITS: [(&str, f64); 5] = [
        ("", 1.0),
        ("s", 1.0),
        ("m", 60.0),
        ("min", 60.0),
        ("h", 3600.0),
    ];
    measured(text, &UNITS).ok_or_else(|| "expected a time such as 90s, 20m or 1.5h".to_owned())
}

/// A number above 0 with one of the units, in the unit that counts as 1.
fn measured(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let is_unit = |c: char| !c.is_ascii_digit() && c != '.';
    let (number, unit) = text.split_at(text.find(is_unit).unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = number.parse().ok()?;
    (number > 0.0).then_some(number * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_as_people_write_them() {
        let sizes = [
            ("700MB", 700_000_000),
            ("2GiB", 2 << 30),
            ("1.5G", 3 << 29),
            ("4096 m", 4 << 30),
            ("24gb", 24_000_000_000),
            ("12", 12),
        ];
        for (text, want) in sizes {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for text in [
            "",
            "GB",
            "-1G",
            "0",
            "2 apples",
            "1e3",
            "1..5G",
            "99999999999G",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
        let times = [
            ("90", 90.0),
            ("45s", 45.0),
            ("20m", 1200.0),
            ("20 min", 1200.0),
            ("1.5h", 5400.0),
        ];
        for (text, want) in times {
            assert_eq!(seconds(text), Ok(want), "{text}");
        }
        for text in ["", "h", "-1h", "2 days", "nan"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_within_their_bounds() {
        assert_eq!(rank("65536"), Ok(MOST_RANK));
        assert_eq!(
            rank("65537").unwrap_err(),
            "expected a whole number from 1 to 65536"
        );
        assert_eq!(
            at_least_one("0").unwrap_err(),
            "expected a whole number, 1 or more"
        );
        for text in ["nan", "inf", "-1", "1", "x"] {
            assert!(below_one(text).is_err(), "{text}");
        }
        assert_eq!(share("1"), Ok(1.0));
        assert!(positive("0").is_err() && not_negative("0").is_ok());
    }
}
