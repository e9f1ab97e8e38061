//! `--gate 'METRIC OP BOUND'`: what stands there, before anything is measured.
use std::fmt;
use std::str::FromStr;

/// A metric and what it has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The metric's name.
    pub metric: String,
    /// How it is compared.
    pub order: Order,
    /// The base's value is the bound, and `limit` is added to it.
    pub is_to_base: bool,
    /// The bound, or what is added to the base's value.
    pub limit: f64,
}

/// How a metric is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
}

impl Order {
    const ALL: [(&'static str, Self); 4] = [
        (">=", Self::AtLeast),
        ("<=", Self::AtMost),
        (">", Self::Above),
        ("<", Self::Below),
    ];

    /// True if the value stands so to the limit.
    pub(crate) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::Above => value > limit,
            Self::AtMost => value <= limit,
            Self::Below => value < limit,
        }
    }

    /// More is asked for, not less.
    pub(crate) fn is_upward(self) -> bool {
        matches!(self, Self::AtLeast | Self::Above)
    }

    fn text(self) -> &'static str {
        let own = Self::ALL.iter().find(|(_, order)| *order == self);
        own.map_or("", |(text, _)| text)
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "expected METRIC >= NUMBER, or METRIC <= base + NUMBER (also > and <)";
        let found = Order::ALL.iter().find_map(|(sign, order)| {
            let (metric, bound) = text.split_once(sign)?;
            Some((metric.trim(), *order, bound.trim()))
        });
        let (metric, order, bound) = found.ok_or_else(|| FORM.to_owned())?;
        if metric.is_empty() || metric.contains(char::is_whitespace) {
            return Err(FORM.to_owned());
        }
        let (is_to_base, limit) = match bound.strip_prefix("base").map(str::trim) {
            Some("") => (true, Some(0.0)),
            Some(added) => (true, added_number(added)),
            None => (false, bound.parse().ok()),
        };
        let limit = limit
            .filter(|limit: &f64| limit.is_finite())
            .ok_or_else(|| FORM.to_owned())?;
        Ok(Self {
            metric: metric.to_owned(),
            order,
            is_to_base,
            limit,
        })
    }
}

/// `+ 0.02` or `- 0.02`.
fn added_number(text: &str) -> Option<f64> {
    let (sign, number) = match text.split_at_checked(1)? {
        ("+", number) => (1.0, number),
        ("-", number) => (-1.0, number),
        _ => return None,
    };
    let number = number.trim();
    let starts_with_digit = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    Some(sign * number.parse::<f64>().ok().filter(|_| starts_with_digit)?)
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.metric, self.order.text())?;
        match (self.is_to_base, self.limit) {
            (false, limit) => write!(f, "{limit}"),
            (true, 0.0) => f.write_str("base"),
            (true, limit) if limit < 0.0 => write!(f, "base - {}", -limit),
            (true, limit) => write!(f, "base + {limit}"),
        }
    }
}

impl serde::Serialize for Bound {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_numbers_or_the_base() {
        for (text, shown) in [
            ("rouge_l >= 0.4", "rouge_l >= 0.4"),
            ("loss<=base+0.02", "loss <= base + 0.02"),
            ("loss < base", "loss < base"),
            ("bleu > base - 1e-3", "bleu > base - 0.001"),
            ("guard.loss <= 3", "guard.loss <= 3"),
        ] {
            assert_eq!(text.parse::<Bound>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "loss",
            "loss = 1",
            ">= 1",
            "loss <= base 1",
            "loss <= NaN",
            "loss <= base + -1",
            "a b > 1",
            "loss <= inf",
        ] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
    }
}
