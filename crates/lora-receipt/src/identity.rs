//! Is what was read when something was made the same as what is given now? Decided from two inputs' hashes and marks.
use crate::Input;
use std::collections::BTreeMap;

/// Short fingerprints of parts of a model, kept with its hash, by which another file of the same model is known.
pub type Marks = BTreeMap<String, String>;

/// Hash of the stored weights: equal for files that hold the same tensors in the same types.
pub const WEIGHTS: &str = "weights";
/// Mark of the types in which the weights are stored.
pub const STORAGE: &str = "storage";
/// Values that every kind of file keeps nearly as they are, as 8 hex digits of an f32 each.
pub const SAMPLES: &str = "samples";
/// Mark of which components of a head rotate together: it decides the order of the rows of q and k.
pub const ROTATION: &str = "rotation";
/// Mark of the factors beside the weights, of a model that some files have with these in the weights.
pub const FACTORS: &str = "factors";
/// Mark of the vocabulary.
pub const TOKENIZER: &str = "tokenizer";

/// Float16 rounds a value by at most this share of it; Gemma's norms lose so much where a file stores γ in place of γ − 1.
const HALF_ROUNDING: f32 = 1.0 / 2048.0;
const OFFSET_ROUNDING: f32 = 1e-6;

/// Whether a model is the one that something was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// It is.
    Same,
    /// It is another file with all signs of the same model; the signs, to be said in one line.
    Likely(String),
    /// Nothing tells; what is not known, to be warned of.
    Unknown(String),
    /// It is not; what shows it.
    Other(String),
}

/// What an adapter says of its base, beside a base that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belonging {
    /// Where its base lies or what it is called, if it says so.
    pub trained_on: Option<String>,
    /// Whether that is the one that is given.
    pub identity: Identity,
}

impl Identity {
    /// Compares the model that was read once with one that is given now.
    pub fn of(then: &Input, now: &Input) -> Self {
        if then.sha256 == now.sha256 {
            return Self::Same;
        }
        let equal = |mark: &str| {
            let (then, now) = (then.marks.get(mark)?, now.marks.get(mark)?);
            Some(then == now)
        };
        let same_tokenizer = equal(TOKENIZER) != Some(false);
        if equal(ROTATION) == Some(false) {
            return Self::Other(
                "one rotates neighbouring components of a head and the other halves, so the rows of q_proj and k_proj lie \
                 in another order"
                    .into(),
            );
        }
        if equal(FACTORS) == Some(false) {
            return Self::Other(
                "one has multipliers in its weights that the other has beside them, so what an adapter adds counts otherwise \
                 (as a GGUF LoRA, made by lora-export, it fits both)"
                    .into(),
            );
        }
        if equal(WEIGHTS) == Some(true) {
            return match same_tokenizer {
                true => Self::Same,
                false => Self::Other("the weights are the same, but the vocabulary is not".into()),
            };
        }
        let (then, now) = (then.marks.get(SAMPLES), now.marks.get(SAMPLES));
        match then.zip(now).map(|(then, now)| same_values(then, now)) {
            None => Self::Other("the content of the files differs".into()),
            Some(false) => Self::Other("the norms of the two differ, so it is another model".into()),
            Some(true) if !same_tokenizer => Self::Other("the vocabularies differ".into()),
            Some(true) if equal(STORAGE) == Some(true) => Self::Other(
                "their weights differ, though they are stored in the same types: one has been changed"
                    .into(),
            ),
            Some(true) => Self::Likely("norms and vocabulary are the same".into()),
        }
    }
}

fn same_values(then: &str, now: &str) -> bool {
    let values = |text: &str| -> Option<Vec<f32>> {
        let digits = text.as_bytes().chunks(8);
        digits
            .map(|part| {
                let bits = u32::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok()?;
                Some(f32::from_bits(bits))
            })
            .collect()
    };
    match (values(then), values(now)) {
        (Some(then), Some(now)) => {
            then.len() == now.len() && then.iter().zip(&now).all(|(a, b)| same_value(*a, *b))
        }
        _ => false,
    }
}

/// One of the two is the other, perhaps rounded to a 16-bit type.
fn same_value(a: f32, b: f32) -> bool {
    let near = HALF_ROUNDING * a.abs().max(b.abs()) + OFFSET_ROUNDING;
    bfloat16(a) == bfloat16(b) || (a - b).abs() <= near
}

/// The bits of the nearest bfloat16, ties to even.
fn bfloat16(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

/// Values as the text of [`SAMPLES`].
pub fn samples(values: &[f32]) -> String {
    values
        .iter()
        .map(|value| format!("{:08x}", value.to_bits()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(sha256: &str, marks: &[(&str, &str)]) -> Input {
        let mut input = Input::new("base", "model", sha256);
        input.marks = marks
            .iter()
            .map(|(name, mark)| ((*name).to_owned(), (*mark).to_owned()))
            .collect();
        input
    }

    #[test]
    fn files_of_one_model_are_told_from_other_models() {
        let norms = samples(&[1.0, 0.5, 3.25, 0.0]);
        // 3.25 · (1 + 2⁻⁹) is 3.25 when rounded to bfloat16, whose next value is 3.265625.
        let rounded = samples(&[1.0, 0.5, 3.25 * (1.0 + 1.0 / 512.0), 5e-8]);
        let tuned = samples(&[1.0, 0.5, 3.265_625, 0.0]);
        let trained_on = input(
            "1",
            &[
                (WEIGHTS, "w"),
                (STORAGE, "q4"),
                (SAMPLES, &norms),
                (TOKENIZER, "t"),
            ],
        );
        let is = |now: Input| Identity::of(&trained_on, &now);
        let given = |weights, storage, samples: &str, tokenizer| {
            let marks = [
                (WEIGHTS, weights),
                (STORAGE, storage),
                (SAMPLES, samples),
                (TOKENIZER, tokenizer),
            ];
            input("2", &marks)
        };
        assert_eq!(is(input("1", &[])), Identity::Same);
        assert_eq!(
            is(given("w", "q4", &norms, "t")),
            Identity::Same,
            "another folder or header"
        );
        let likely = |identity| matches!(identity, Identity::Likely(_));
        assert!(likely(is(given("v", "bf16", &norms, "t"))));
        assert!(likely(is(given("v", "f32", &rounded, "t"))));
        let other = |identity| matches!(identity, Identity::Other(_));
        assert!(
            other(is(given("v", "q4", &norms, "t"))),
            "merged, in the same types"
        );
        assert!(other(is(given("v", "bf16", &tuned, "t"))), "fine-tuned");
        assert!(
            other(is(given("v", "bf16", &norms, "u"))),
            "another vocabulary"
        );
        assert!(
            other(is(given("w", "q4", &norms, "u"))),
            "the same with another vocabulary"
        );
        assert!(
            other(is(given("v", "bf16", &norms[8..], "t"))),
            "fewer norms"
        );
        assert!(other(is(input("2", &[]))), "nothing but the hash is known");
        assert!(other(is(given("v", "bf16", "broken", "t"))));
    }
}
