//! Factors that GGUF has in the weights: converted, a row is multiplied by what the model multiplies its output by.
use crate::ModelConfig;
use crate::weights::Part;

/// What the rows of a weight are multiplied by in GGUF.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Folded {
    /// All by one number.
    All(f32),
    /// Each by its own.
    Rows(Vec<f32>),
}

impl Folded {
    fn of_row(&self, row: usize) -> f32 {
        match self {
            Self::All(factor) => *factor,
            Self::Rows(factors) => factors[row],
        }
    }

    /// Multiplies whole rows from `first` on; of a vector each value is a row.
    pub(crate) fn multiply(&self, first: usize, rows: &mut [f32], columns: usize) {
        self.each(first, rows, columns, |value, factor| value * factor);
    }

    /// The way back.
    pub(crate) fn divide(&self, first: usize, rows: &mut [f32], columns: usize) {
        self.each(first, rows, columns, |value, factor| value / factor);
    }

    fn each(&self, first: usize, rows: &mut [f32], columns: usize, with: fn(f32, f32) -> f32) {
        for (row, values) in rows.chunks_exact_mut(columns).enumerate() {
            let factor = self.of_row(first + row);
            values.iter_mut().for_each(|v| *v = with(*v, factor));
        }
    }
}

/// What GGUF has in the rows of a part of a model; none if that is 1 everywhere.
pub(crate) fn folded(config: &ModelConfig, part: Part) -> Option<Folded> {
    if !config.facts().gguf.folds_factors {
        return None;
    }
    let all = |factor: f64| (factor != 1.0).then_some(Folded::All(factor as f32));
    let rows = |own: Vec<(usize, f64)>| {
        let each = own.into_iter();
        let each = each.flat_map(|(count, factor)| std::iter::repeat_n(factor as f32, count));
        Folded::Rows(each.collect())
    };
    match part {
        Part::Embedding => all(config.multipliers.embedding),
        Part::Head => all(1.0 / config.multipliers.logits),
        Part::Linear(layer, own) => config.row_factors(layer, own).map(rows),
        // What is read is multiplied before a bias is added.
        Part::Bias(layer, own) => config.output_factors(layer, own).map(rows),
        _ => None,
    }
}
