//! The last number of an answer is the last number of a reference, as GSM8K's answers are read.
use super::metric::{Metric, Scale, Sums, mean_of};

/// See the module.
pub(crate) struct Numeric;

impl Metric for Numeric {
    fn name(&self) -> &str {
        "numeric"
    }

    fn scale(&self) -> Scale {
        Scale::Share
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let wanted: Vec<f64> = references.iter().filter_map(|r| last_number(r)).collect();
        if wanted.is_empty() {
            return None;
        }
        let answered = last_number(answer);
        let is_met = answered.is_some_and(|own| wanted.contains(&own));
        mean_of(f64::from(u8::from(is_met)))
    }
}

/// The last number: digits with a sign, thousands commas, a decimal point and an exponent.
pub(crate) fn last_number(text: &str) -> Option<f64> {
    let chars: Vec<char> = text.chars().collect();
    let mut last = None;
    let mut at = 0;
    while at < chars.len() {
        let (number, end) = number_at(&chars, at);
        last = number.or(last);
        at = end.max(at + 1);
    }
    last
}

/// The number that starts here and where it ends; a comma counts only between groups of three digits.
fn number_at(chars: &[char], start: usize) -> (Option<f64>, usize) {
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut at = start;
    let mut text = String::new();
    let follows_word = start > 0 && (chars[start - 1].is_alphanumeric() || chars[start - 1] == ')');
    if chars[at] == '-' && !follows_word && (is_digit(at + 1) || chars.get(at + 1) == Some(&'.')) {
        text.push('-');
        at += 1;
    }
    let whole = at;
    while is_digit(at) || (at > whole && chars.get(at) == Some(&',') && is_group(chars, at + 1)) {
        if chars[at] != ',' {
            text.push(chars[at]);
        }
        at += 1;
    }
    if chars.get(at) == Some(&'.') && is_digit(at + 1) {
        text.push('.');
        at += 1;
        while is_digit(at) {
            text.push(chars[at]);
            at += 1;
        }
    }
    let sign = chars.get(at + 1).is_some_and(|c| matches!(c, '+' | '-'));
    let digits = at + 1 + usize::from(sign);
    if at > whole && matches!(chars.get(at), Some('e' | 'E')) && is_digit(digits) {
        text.extend(&chars[at..digits]);
        at = digits;
        while is_digit(at) {
            text.push(chars[at]);
            at += 1;
        }
    }
    let number = if at > whole { text.parse().ok() } else { None };
    (number.filter(|n: &f64| n.is_finite()), at)
}

/// Three digits and no fourth.
fn is_group(chars: &[char], at: usize) -> bool {
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    (at..at + 3).all(is_digit) && !is_digit(at + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("so 3 + 4 = 7.", Some(7.0)),
            ("$1,234.50 in all", Some(1234.5)),
            ("#### -12", Some(-12.0)),
            ("from 3-5", Some(5.0)),
            ("1e3", Some(1000.0)),
            (".5", Some(0.5)),
            ("1,2", Some(2.0)),
            ("1,234,567", Some(1_234_567.0)),
            ("none", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(last_number(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_reference_without_a_number_is_not_judged() {
        assert_eq!(Numeric.sums("7", &["seven".to_owned()]), None);
        assert_eq!(Numeric.sums("", &["7".to_owned()]), mean_of(0.0));
        assert_eq!(Numeric.sums("7.0", &["#### 7".to_owned()]), mean_of(1.0));
    }
}
