//! ROUGE-L as rouge-score computes it: F1 of the longest common subsequence of tokens a to z and 0 to 9.
use super::metric::{Metric, Scale, Sums, best, mean_of};
use super::porter::stem;

/// Words of more letters than this are stemmed.
const UNSTEMMED: usize = 3;

/// See the module. Several references: the best F1, as `score_multi`.
pub(crate) struct RougeL {
    /// Words are stemmed, as with `use_stemmer=True`.
    pub(crate) stemmed: bool,
}

impl Metric for RougeL {
    fn name(&self) -> &str {
        match self.stemmed {
            true => "rouge_l_stem",
            false => "rouge_l",
        }
    }

    fn scale(&self) -> Scale {
        Scale::Unit
    }

    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums> {
        let answer = self.tokens(answer);
        mean_of(best(references, |r| f1(&self.tokens(r), &answer)))
    }
}

impl RougeL {
    fn tokens(&self, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
        let written = words.filter(|word| !word.is_empty()).map(str::to_owned);
        if !self.stemmed {
            return written.collect();
        }
        let stems = written.map(|word| match word.len() > UNSTEMMED {
            true => stem(&word),
            false => word,
        });
        stems.filter(|word| !word.is_empty()).collect()
    }
}

/// True if the text has tokens that ROUGE knows.
pub(crate) fn is_readable(text: &str) -> bool {
    !RougeL { stemmed: false }.tokens(text).is_empty()
}

fn f1(wanted: &[String], answer: &[String]) -> f64 {
    let common = common_subsequence(wanted, answer);
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / answer.len() as f64;
    let recall = common as f64 / wanted.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// Length of the longest common subsequence, one row of the table at a time.
fn common_subsequence(one: &[String], other: &[String]) -> usize {
    let mut row = vec![0usize; other.len() + 1];
    for word in one {
        let mut diagonal = 0;
        for (at, own) in other.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = match own == word {
                true => diagonal + 1,
                false => above.max(row[at]),
            };
            diagonal = above;
        }
    }
    row[other.len()]
}
