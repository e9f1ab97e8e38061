//! BLEU over the corpus as sacrebleu computes it by default: tokens of mteval-v13a, exponential smoothing.
use super::metric::{Metric, Scale, Sums};
use super::text::{is_python_space, words};
use std::collections::HashMap;

/// Longest n-gram.
const ORDER: usize = 4;

/// See the module. Sums: length of the answer, of the closest reference, matches and n-grams for each n.
pub(crate) struct Bleu;

impl Metric for Bleu {
    fn name(&self) -> &str {
        "bleu"
    }

    fn scale(&self) -> Scale {
        Scale::Corpus
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let references: Vec<String> = references.iter().map(|r| tokenised(r)).collect();
        let references: Vec<Vec<&str>> = references.iter().map(|r| words(r).collect()).collect();
        if references.iter().all(Vec::is_empty) {
            return Some(vec![0.0; 2 + 2 * ORDER]);
        }
        let answer = tokenised(answer);
        let answer: Vec<&str> = words(&answer).collect();
        let distance = |r: &&Vec<&str>| (answer.len().abs_diff(r.len()), r.len());
        let closest = references.iter().min_by_key(distance)?;
        let mut sums = vec![0.0; 2 + 2 * ORDER];
        sums[0] = answer.len() as f64;
        sums[1] = closest.len() as f64;
        for n in 1..=ORDER {
            let mut most: HashMap<&[&str], usize> = HashMap::new();
            for reference in &references {
                for (gram, count) in counts(reference, n) {
                    let known = most.entry(gram).or_default();
                    *known = count.max(*known);
                }
            }
            for (gram, count) in counts(&answer, n) {
                let matched = count.min(most.get(gram).copied().unwrap_or(0));
                sums[1 + n] += matched as f64;
                sums[1 + ORDER + n] += count as f64;
            }
        }
        Some(sums)
    }

    /// `BLEU.compute_bleu` of sacrebleu with `smooth_method="exp"`.
    fn figure(&self, sums: &[f64]) -> f64 {
        let (lengths, grams) = sums.split_at(2);
        let (correct, total) = grams.split_at(ORDER);
        if correct.iter().all(|&matches| matches == 0.0) {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let mut logs = 0.0;
        for (&correct, &total) in correct.iter().zip(total) {
            if total == 0.0 {
                return 0.0;
            }
            let precision = if correct == 0.0 {
                smoothing *= 2.0;
                100.0 / (smoothing * total)
            } else {
                100.0 * correct / total
            };
            logs += precision.ln();
        }
        let penalty = match lengths[0] < lengths[1] {
            true => (1.0 - lengths[1] / lengths[0]).exp(),
            false => 1.0,
        };
        penalty * (logs / ORDER as f64).exp()
    }
}

fn counts<'a, 't>(tokens: &'a [&'t str], n: usize) -> HashMap<&'a [&'t str], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// sacrebleu's `Tokenizer13a`: spaces around punctuation, but not inside numbers.
fn tokenised(text: &str) -> String {
    let text = text.trim_end_matches(is_python_space);
    let mut line = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    for (entity, plain) in [
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ] {
        line = line.replace(entity, plain);
    }
    let mut spaced = String::from(" ");
    for c in line.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                spaced.extend([' ', c, ' ']);
            }
            _ => spaced.push(c),
        }
    }
    spaced.push(' ');
    let is_point = |c: char| matches!(c, '.' | ',');
    let is_digit = |c: char| c.is_ascii_digit();
    let line = pairs(&spaced, |c| !is_digit(c), is_point, |a, b| [a, ' ', b, ' ']);
    let line = pairs(&line, is_point, |c| !is_digit(c), |a, b| [' ', a, ' ', b]);
    pairs(&line, is_digit, |c| c == '-', |a, b| [a, ' ', b, ' '])
}

/// Rewrites pairs of neighbours from left to right, each character in one pair at most.
fn pairs(
    text: &str,
    first: impl Fn(char) -> bool,
    second: impl Fn(char) -> bool,
    written: impl Fn(char, char) -> [char; 4],
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.next_if(|&next| first(c) && second(next)) {
            Some(next) => out.extend(written(c, next)),
            None => out.push(c),
        }
    }
    out
}
