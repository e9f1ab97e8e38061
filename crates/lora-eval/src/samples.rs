//! Several answers to a prompt: whether one of k is right (pass@k), and whether the most frequent one is (majority).
use crate::generation::Answer;
use crate::measure::Measure;
use crate::metrics::{Metric, Scale, Sums};

/// What is measured of several answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// One of so many answers is right.
    Pass(usize),
    /// The answer that most samples give is right; of equally frequent ones the first given.
    Majority,
}

impl Of {
    /// The measures of `samples` answers: pass@1, powers of two, pass@samples, majority; none of one answer.
    pub(crate) fn all(samples: usize) -> Vec<Self> {
        if samples < 2 {
            return Vec::new();
        }
        let powers = std::iter::successors(Some(1usize), |k| Some(2 * k));
        let below = powers.take_while(|&k| k < samples).map(Self::Pass);
        below.chain([Self::Pass(samples), Self::Majority]).collect()
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Pass(k) => format!("pass@{k}"),
            Self::Majority => "majority".to_owned(),
        }
    }

    /// The measure of so many answers.
    pub(crate) fn measure(self, samples: usize) -> Measure {
        Measure::of_scores(&self.name(), self.scale(samples))
    }

    /// What a row's score can be, for so many answers.
    fn scale(self, samples: usize) -> Scale {
        match self {
            Self::Pass(k) if k < samples => Scale::Unit,
            _ => Scale::Share,
        }
    }

    /// The sums of one row; none where the metric has nothing to say of it.
    pub(crate) fn sums(
        self,
        metric: &dyn Metric,
        answer: &Answer,
        references: &[String],
    ) -> Option<Sums> {
        let all: Vec<&str> = std::iter::once(answer)
            .chain(&answer.more)
            .map(Answer::counted)
            .collect();
        let is_right = |text: &str| {
            let sums = metric.sums(text, references)?;
            Some(metric.figure(&sums) >= 1.0)
        };
        let score = match self {
            Self::Majority => f64::from(u8::from(is_right(most_frequent(&all))?)),
            Self::Pass(k) => {
                let right: Vec<bool> = all
                    .iter()
                    .map(|text| is_right(text))
                    .collect::<Option<_>>()?;
                pass(all.len(), right.iter().filter(|right| **right).count(), k)
            }
        };
        Some(vec![score, 1.0])
    }
}

/// The unbiased estimate of pass@k from n samples of which c are right: 1 − C(n−c, k) ÷ C(n, k) (Chen et al. 2021).
fn pass(n: usize, c: usize, k: usize) -> f64 {
    if n - c < k {
        return 1.0;
    }
    let ratio = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64);
    1.0 - ratio.product::<f64>()
}

fn most_frequent<'t>(texts: &[&'t str]) -> &'t str {
    let count = |text: &str| texts.iter().filter(|other| **other == text).count();
    let mut best = texts.first().copied().unwrap_or_default();
    for text in texts {
        if count(text) > count(best) {
            best = text;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::all;

    #[test]
    fn pass_at_k_is_the_share_of_draws_with_a_right_one() {
        assert!((pass(5, 2, 1) - 0.4).abs() < 1e-12);
        assert!((pass(5, 2, 2) - 0.7).abs() < 1e-12, "1 − C(3,2)/C(5,2)");
        assert_eq!(
            (pass(5, 0, 3), pass(5, 5, 1), pass(5, 3, 3)),
            (0.0, 1.0, 1.0)
        );
        let names: Vec<_> = Of::all(5).into_iter().map(Of::name).collect();
        assert_eq!(names, ["pass@1", "pass@2", "pass@4", "pass@5", "majority"]);
        assert!(Of::all(1).is_empty());
    }

    #[test]
    fn the_majority_answers_and_the_first_of_equals() {
        let answer = |text: &str| Answer {
            text: text.to_owned(),
            ..Answer::default()
        };
        let mut first = answer("a");
        first.more = ["b", "b", "c"].map(answer).to_vec();
        let exact = all().remove(0);
        let score =
            |of: Of, wanted: &str| of.sums(&*exact, &first, &[wanted.to_owned()]).unwrap()[0];
        assert_eq!(
            (score(Of::Majority, "b"), score(Of::Majority, "a")),
            (1.0, 0.0)
        );
        assert_eq!(
            (score(Of::Pass(1), "b"), score(Of::Pass(4), "c")),
            (0.5, 1.0)
        );
        assert_eq!(most_frequent(&["x", "y", "y", "x"]), "x");
        assert_eq!(score(Of::Pass(4), ""), 0.0);
    }
}
