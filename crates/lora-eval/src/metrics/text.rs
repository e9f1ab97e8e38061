//! Answers that are, or hold, the expected text: exactly, or as SQuAD normalises it; F1 over SQuAD's tokens.
use super::metric::{Metric, Scale, Sums, best, mean_of};
use std::collections::HashMap;

/// The answer is a reference, to the character.
pub(crate) struct Exact;

/// The answer is a reference once both are normalised as SQuAD does it.
pub(crate) struct Normalised;

/// The answer holds a reference, white space taken as one space.
pub(crate) struct Contains;

/// F1 over the tokens of SQuAD's normalised texts, a bag each (Rajpurkar et al. 2016).
pub(crate) struct TokenF1;

impl Metric for Exact {
    fn name(&self) -> &str {
        "exact_match"
    }

    fn scale(&self) -> Scale {
        Scale::Share
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        mean_of(best(references, |r| {
            share(!r.trim().is_empty() && r == answer)
        }))
    }
}

impl Metric for Normalised {
    fn name(&self) -> &str {
        "normalized_match"
    }

    fn scale(&self) -> Scale {
        Scale::Share
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let answer = normalised(answer);
        mean_of(best(references, |r| {
            let wanted = normalised(r);
            share(!wanted.is_empty() && wanted == answer)
        }))
    }
}

impl Metric for Contains {
    fn name(&self) -> &str {
        "contains"
    }

    fn scale(&self) -> Scale {
        Scale::Share
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let answer = words(answer).collect::<Vec<_>>().join(" ");
        mean_of(best(references, |r| {
            let wanted = words(r).collect::<Vec<_>>().join(" ");
            share(!wanted.is_empty() && answer.contains(&wanted))
        }))
    }
}

impl Metric for TokenF1 {
    fn name(&self) -> &str {
        "token_f1"
    }

    fn scale(&self) -> Scale {
        Scale::Unit
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let answer = normalised(answer);
        mean_of(best(references, |r| f1(&normalised(r), &answer)))
    }
}

fn share(is_met: bool) -> f64 {
    f64::from(u8::from(is_met))
}

/// F1 of two bags of words; 0 where they share none.
fn f1(wanted: &str, answer: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in words(wanted) {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0usize;
    for word in words(answer) {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / words(answer).count() as f64;
    let recall = common as f64 / words(wanted).count() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// SQuAD's `normalize_answer`: lower case, without ASCII punctuation, without a, an, the, one space between words.
fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let plain: String = lower
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    let mut out = String::new();
    let mut word = String::new();
    for c in plain.chars().chain([' ']) {
        if c.is_alphanumeric() {
            word.push(c);
            continue;
        }
        match word.as_str() {
            "a" | "an" | "the" => out.push(' '),
            other => out += other,
        }
        word.clear();
        out.push(c);
    }
    words(&out).collect::<Vec<_>>().join(" ")
}

/// Words as Python's `str.split()` finds them.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_python_space).filter(|word| !word.is_empty())
}

/// What Python's `str.isspace` takes for white space.
pub(crate) fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(metric: &dyn Metric, answer: &str, reference: &str) -> f64 {
        metric.sums(answer, &[reference.to_owned()]).unwrap()[0]
    }

    #[test]
    fn texts_are_normalised_as_squad_does_it() {
        assert_eq!(normalised("The  Cat, a dog & an_ape!"), "cat dog anape");
        assert_eq!(normalised("Theatre a-b (the) A."), "theatre ab");
        assert_eq!(of(&Normalised, "the Eiffel tower.", "Eiffel Tower"), 1.0);
        assert_eq!(of(&Normalised, "Eiffel", "Eiffel Tower"), 0.0);
        assert_eq!(
            of(&Contains, "It is the\nEiffel Tower.", "Eiffel  Tower"),
            1.0
        );
        assert_eq!(of(&Contains, "the Eiffel\nTower!", "Eiffel Tower"), 1.0);
    }

    #[test]
    fn f1_is_squads() {
        // evaluate-v1.1.py: f1_score("the cat sat on mat", "a cat sat") = 2·(2/4)·(2/2)/(2/4 + 2/2).
        assert!((of(&TokenF1, "the cat sat on mat", "a cat sat") - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(of(&TokenF1, "x x", "x y"), 0.5);
    }

    #[test]
    fn what_is_empty_is_never_met() {
        let metrics: [&dyn Metric; 4] = [&Exact, &Normalised, &Contains, &TokenF1];
        for metric in metrics {
            for (answer, reference) in [("", ""), ("", "a b"), ("x", ""), ("the", "a"), (" ", ".")]
            {
                assert_eq!(of(metric, answer, reference), 0.0, "{}", metric.name());
            }
        }
    }
}
