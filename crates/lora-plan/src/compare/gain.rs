//! Shares of another run's gain: how much of what full fine-tuning reaches does a rank reach?
use super::row::{Compared, Interval, Share};
use lora_cli::{Error, Result};

/// Normal quantile of a 95 % interval.
const Z: f64 = 1.96;

/// Gives each run its share of the run named `whole`.
///
/// # Errors
/// When no run, or more than one, has this name; when the runs were not measured on the same rows; when that run gains
/// nothing that could be shared.
pub(super) fn shares(rows: &mut [Compared], whole: &str) -> Result<()> {
    let is_named = |row: &&Compared| row.run == whole || row.folder.ends_with(&format!("/{whole}"));
    let named: Vec<&Compared> = rows.iter().filter(is_named).collect();
    let [whole] = named[..] else {
        let names: Vec<&str> = rows.iter().map(|row| row.run.as_str()).collect();
        return Err(
            Error::new(format!("--gain-of: there is no one run {whole}"))
                .hint(format!("the runs are {}", names.join(", "))),
        );
    };
    if Compared::have_other_data(rows) {
        return Err(Error::new(
            "--gain-of: the runs have other data, so that their gains can't be compared",
        )
        .hint("train and measure all of them on the same dataset"));
    }
    let measured = whole.difference_to_base;
    let Some(all) = measured.filter(|gain| gain.high < 0.0) else {
        let why = match measured {
            None => "no report of lora-eval holds it",
            Some(_) => "it does not gain on the base for certain",
        };
        return Err(Error::new(format!(
            "--gain-of: {} has no gain to share: {why}",
            whole.run
        ))
        .hint("measure base and all runs first: lora-eval --adapter A --adapter B …"));
    };
    let whole = whole.clone();
    for row in rows {
        let share = |own: Option<u64>, of: Option<u64>| Some(own? as f64 / of? as f64);
        row.share = row.difference_to_base.map(|gain| Share {
            of: whole.run.clone(),
            gain: match row.folder == whole.folder {
                true => exactly(1.0),
                false => ratio(gain, all),
            },
            parameters: share(row.trainable, whole.trainable),
            memory: share(row.peak_bytes, whole.peak_bytes),
        });
    }
    Ok(())
}

fn exactly(value: f64) -> Interval {
    Interval {
        value,
        low: value,
        high: value,
    }
}

/// A ratio of two differences, its interval by the delta method as if the two were independent. They are of the same rows
/// and against the same base, so that their errors go together and the interval is rather too wide.
fn ratio(part: Interval, whole: Interval) -> Interval {
    let relative = |i: Interval| (i.high - i.low) / (2.0 * Z) / i.value;
    let value = part.value / whole.value;
    let error = value.abs() * (relative(part).powi(2) + relative(whole).powi(2)).sqrt();
    Interval {
        value,
        low: value - Z * error,
        high: value + Z * error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 10 ± 0.2 and 8 ± 0.3 (standard errors) the ratio is 0.8 ± 0.8·√(0.02² + 0.0375²).
    #[test]
    fn a_ratio_of_two_gains() {
        let gain = |value: f64, error: f64| Interval {
            value,
            low: value - Z * error,
            high: value + Z * error,
        };
        let share = ratio(gain(-8.0, 0.3), gain(-10.0, 0.2));
        let half = Z * 0.8 * (0.02f64.powi(2) + 0.0375f64.powi(2)).sqrt();
        assert!((share.value - 0.8).abs() < 1e-12, "{share:?}");
        assert!((share.high - 0.8 - half).abs() < 1e-12, "{share:?}");
        assert!((share.low - 0.8 + half).abs() < 1e-12, "{share:?}");
    }
}
