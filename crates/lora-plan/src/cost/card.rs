//! GPUs as far as a plan needs them: memory, and the rates that their makers publish.
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A GPU to plan for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Card {
    /// Its name; none if only a size was given.
    pub name: Option<&'static str>,
    /// Its memory, bytes: as many GB as are published, each of 10⁹ bytes. Drivers report a little more.
    pub bytes: u64,
    /// What it computes and moves, if that is known.
    #[serde(skip)]
    pub rates: Option<Rates>,
}

/// Published rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Dense products of bfloat16 summed in f32, FLOP/s.
    pub products: f64,
    /// Memory, bytes/s.
    pub memory: f64,
}

/// Name, GB, TFLOP/s of dense bfloat16 products summed in f32 (0 where tensor cores take none), GB/s.
const CARDS: [(&str, u64, f64, f64); 17] = [
    ("rtx-3060", 12, 25.5, 360.0),
    ("rtx-3090", 24, 71.0, 936.0),
    ("rtx-4060ti-16gb", 16, 44.0, 288.0),
    ("rtx-4070", 12, 58.3, 504.0),
    ("rtx-4080", 16, 97.5, 717.0),
    ("rtx-4090", 24, 165.2, 1008.0),
    ("rtx-5090", 32, 209.5, 1792.0),
    ("t4", 16, 0.0, 320.0),
    ("l4", 24, 121.0, 300.0),
    ("a10", 24, 125.0, 600.0),
    ("a6000", 48, 154.8, 768.0),
    ("l40s", 48, 362.0, 864.0),
    ("a100-40gb", 40, 312.0, 1555.0),
    ("a100-80gb", 80, 312.0, 2039.0),
    ("h100", 80, 989.0, 3350.0),
    ("h200", 141, 989.0, 4800.0),
    ("b200", 180, 2250.0, 8000.0),
];

impl Card {
    /// All cards that are known by name.
    pub fn all() -> impl Iterator<Item = Self> {
        CARDS.iter().map(|&(name, gb, tera, giga)| Self {
            name: Some(name),
            bytes: gb * 1_000_000_000,
            rates: (tera > 0.0).then_some(Rates {
                products: tera * 1e12,
                memory: giga * 1e9,
            }),
        })
    }
}

fn names() -> String {
    CARDS.map(|(name, ..)| name).join(", ")
}

/// A card that is not NVIDIA's, by the way its maker names it.
fn is_foreign(name: &str) -> bool {
    let numbered = |prefix: &str| {
        let rest = name.strip_prefix(prefix).map(|r| r.trim_start_matches('-'));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    ["mi", "rx", "radeon", "arc", "gaudi"]
        .iter()
        .any(|maker| numbered(maker))
        || [
            "radeon", "instinct", "arc-", "gaudi", "metal", "mps", "rocm",
        ]
        .iter()
        .any(|maker| name.starts_with(maker))
}

impl FromStr for Card {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let named = lower.strip_prefix("cuda:").unwrap_or(&lower);
        if let Some(card) = Self::all().find(|card| card.name == Some(named)) {
            return Ok(card);
        }
        if is_foreign(named) {
            return Err(format!(
                "{named} is no card for CUDA, and only on those is there training on a GPU; known: {}",
                names()
            ));
        }
        let is_size = lower.starts_with("cuda:") && named.ends_with(['b', 'g', 'm']);
        match lora_cli::values::bytes(named).ok().filter(|_| is_size) {
            Some(bytes) => Ok(Self {
                name: None,
                bytes,
                rates: None,
            }),
            None => Err(format!(
                "expected the card's memory, as in cuda:24GB, or its name: {}",
                names()
            )),
        }
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "{name} ({})", lora_cli::human_bytes(self.bytes)),
            None => write!(f, "a card of {}", lora_cli::human_bytes(self.bytes)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_names_are_read_and_what_is_not_cudas_is_refused_by_name() {
        let bytes = |text: &str| text.parse::<Card>().map(|card| card.bytes);
        assert_eq!(bytes("cuda:24GB"), Ok(24_000_000_000));
        assert_eq!(bytes("cuda:8GiB"), Ok(8 << 30));
        assert_eq!(bytes("RTX-3090"), Ok(24_000_000_000));
        assert_eq!(bytes("cuda:h100"), bytes("h100"));
        for foreign in ["mi300x", "mi-210", "rx-7900", "radeon-pro", "arc-a770"] {
            let why = bytes(foreign).unwrap_err();
            assert!(why.starts_with(foreign), "{why}");
        }
        for wrong in ["", "cuda", "cuda:", "cuda:0", "24GB", "cuda:xGB", "rtx-1"] {
            assert!(bytes(wrong).unwrap_err().contains("cuda:24GB"), "{wrong}");
        }
    }
}
