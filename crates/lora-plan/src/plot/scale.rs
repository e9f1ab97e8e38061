//! From values to places, and round numbers to write beside an axis.

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    /// An axis that holds all values; None if there is none.
    pub(super) fn holding(values: impl Iterator<Item = f64>, log: bool) -> Option<Self> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        if low > high {
            return None;
        }
        let (low, high) = match (low == high, log) {
            (false, _) => (low, high),
            (true, true) => (low / 2.0, high * 2.0),
            (true, false) => (low - 0.5, high + 0.5),
        };
        Some(Self { low, high, log })
    }

    /// With room at both ends, so that nothing lies on an edge; from 0 if that is near.
    pub(super) fn with_room(self) -> Self {
        const ROOM: f64 = 0.04;
        /// The share of an axis that may be spent on reaching 0.
        const NEAR: f64 = 0.4;
        let Self { low, high, log } = self;
        if log {
            let room = (high / low).powf(ROOM);
            return Self {
                low: low / room,
                high: high * room,
                log,
            };
        }
        let room = ROOM * (high - low);
        let low = if (0.0..=NEAR * high).contains(&low) {
            0.0
        } else {
            low - room
        };
        Self {
            low,
            high: high + room,
            log,
        }
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let at = |v: f64| if self.log { v.ln() } else { v };
        (at(value) - at(self.low)) / (at(self.high) - at(self.low))
    }

    /// About `n` round values on the axis, ascending.
    pub(super) fn ticks(&self, n: usize) -> Vec<f64> {
        if self.log {
            let ticks: Vec<f64> = (-12..15)
                .flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e)))
                .filter(|t| (self.low..=self.high).contains(t))
                .collect();
            let step = ticks.len().div_ceil(n.max(1)).max(1);
            return ticks.into_iter().step_by(step).collect();
        }
        let rough = (self.high - self.low) / n.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * power)
            .into_iter()
            .find(|s| *s >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        (first..=(self.high / step).floor() as i64)
            .map(|i| i as f64 * step)
            .collect()
    }
}

/// A tick as people write it.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        s if s >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        s if s >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        s if s < 1e-3 => format!("{value:.0e}"),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
