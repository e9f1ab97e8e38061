//! What a metric of answers is: sums a row, and a figure of the rows' sums.

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// What a row's score can be, which decides the interval and the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// 0 or 1 a row: the figure is a share.
    Share,
    /// 0 to 1 a row: the figure is a mean.
    Unit,
    /// The figure is a function of sums over the corpus, 0 to 100.
    Corpus,
    /// Any number.
    Free,
}

/// Sums of a row, of which the figure is a function; figures of several rows come from the sum of their sums.
pub(crate) type Sums = Vec<f64>;

/// A metric of generated answers.
pub(crate) trait Metric {
    /// As in `--metrics`, the report and gates.
    fn name(&self) -> &str;

    /// What a row's score can be.
    fn scale(&self) -> Scale;

    /// False where the references have no part in it: it then says something of the form of answers alone.
    fn needs_reference(&self) -> bool {
        true
    }

    /// The sums of one answer against its references; none where the metric has nothing to say of the row. An empty
    /// reference is never met.
    fn sums(&self, answer: &str, references: &[String]) -> Option<Sums>;

    /// The figure of summed sums: by default the mean of scores from [`mean_of`].
    fn figure(&self, sums: &[f64]) -> f64 {
        sums[0] / sums[1]
    }
}

/// Sums of which the figure is the mean of scores.
pub(crate) fn mean_of(score: f64) -> Option<Sums> {
    Some(vec![score, 1.0])
}

/// The best score over the references; 0 without one.
pub(crate) fn best(references: &[String], score: impl FnMut(&String) -> f64) -> f64 {
    references.iter().map(score).fold(0.0, f64::max)
}
