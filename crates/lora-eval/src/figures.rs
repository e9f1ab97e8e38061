//! The report's figures: each measure of each model with its interval, tested against the base and between adapters.
use crate::estimate::{Row, estimate};
use crate::measure::Measure;
use crate::measured::{Grades, Measured};
use crate::metrics::{Better, Sums};
use crate::paired::{Paired, chance_p, holm, paired};
use crate::statistics::TAIL;
use lora_records::{Chance, Change, Figure, MetricChange, Verdict};

/// Rows' prompts, and the measures in the order of the grades.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) measures: &'a [Measure],
    pub(crate) prompts: &'a [usize],
}

/// All tested differences of a report: between models `first` and `second` by their number, the base being 0.
#[derive(Debug)]
pub(crate) struct Tests {
    found: Vec<Test>,
}

#[derive(Debug)]
struct Test {
    first: usize,
    second: usize,
    measure: usize,
    paired: Paired,
    corrected: f64,
}

impl Tests {
    /// Tests every pair of models by every measure, and corrects the p-values together.
    pub(crate) fn of(ground: Ground<'_>, models: &[Measured]) -> Self {
        let mut found = Vec::new();
        for second in 1..models.len() {
            for first in 0..second {
                for (at, measure) in ground.measures.iter().enumerate() {
                    let grades = (models[first].grades.get(at), models[second].grades.get(at));
                    let (Some(one), Some(other)) = grades else {
                        continue;
                    };
                    let (one, other) = ground.common(&one.rows, &other.rows, |_| true);
                    if let Some(paired) =
                        paired(measure, &one, &other).filter(|_| measure.is_tested)
                    {
                        found.push(Test {
                            first,
                            second,
                            measure: at,
                            paired,
                            corrected: paired.p_value,
                        });
                    }
                }
            }
        }
        let p_values: Vec<f64> = found.iter().map(|test| test.paired.p_value).collect();
        for (test, corrected) in found.iter_mut().zip(holm(&p_values)) {
            test.corrected = corrected;
        }
        Self { found }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.found.len()
    }

    /// The differences between two models, by measure.
    pub(crate) fn between(
        &self,
        ground: Ground<'_>,
        first: usize,
        second: usize,
    ) -> Vec<MetricChange> {
        let ours = self
            .found
            .iter()
            .filter(|test| (test.first, test.second) == (first, second));
        ours.map(|test| MetricChange {
            metric: ground.measures[test.measure].name.clone(),
            change: test.change(&ground.measures[test.measure]),
        })
        .collect()
    }

    fn against_base(&self, ground: Ground<'_>, model: usize, measure: usize) -> Option<Change> {
        let is_it = |test: &&Test| (test.first, test.second, test.measure) == (0, model, measure);
        let test = self.found.iter().find(is_it)?;
        Some(test.change(&ground.measures[measure]))
    }
}

impl Test {
    fn change(&self, measure: &Measure) -> Change {
        let is_up = self.paired.value > 0.0;
        let verdict = if self.corrected >= TAIL || self.paired.value == 0.0 {
            Verdict::CantTell
        } else if is_up == (measure.better == Better::Higher) {
            Verdict::Better
        } else {
            Verdict::Worse
        };
        Change {
            value: self.paired.value,
            low: self.paired.low,
            high: self.paired.high,
            p_value: self.corrected,
            verdict,
        }
    }
}

impl Ground<'_> {
    /// A model's figures with what was tested of it.
    pub(crate) fn figures(self, models: &[Measured], model: usize, tests: &Tests) -> Vec<Figure> {
        let grades = models[model].grades.iter().zip(self.measures).enumerate();
        let figure = |(at, (grades, measure)): (usize, (&Grades, &Measure))| {
            let mut figure = self.figure(grades, measure, |_| true)?;
            figure.against_base = tests.against_base(self, model, at);
            Some(figure)
        };
        grades.filter_map(figure).collect()
    }

    /// A model's figures on the rows of a slice, untested.
    pub(crate) fn on_slice(self, model: &Measured, is_in: impl Fn(usize) -> bool) -> Vec<Figure> {
        let grades = model.grades.iter().zip(self.measures);
        grades
            .filter_map(|(grades, measure)| self.figure(grades, measure, &is_in))
            .collect()
    }

    fn figure(
        self,
        grades: &Grades,
        measure: &Measure,
        is_in: impl Fn(usize) -> bool,
    ) -> Option<Figure> {
        let rows = self.placed(&grades.rows, &is_in);
        let found = estimate(measure, &rows)?;
        Some(Figure {
            metric: measure.name.clone(),
            value: found.value,
            low: found.low,
            high: found.high,
            rows: found.rows,
            prompts: found.prompts,
            higher_is_better: measure.better == Better::Higher,
            chance: self.chance(grades, measure, &is_in),
            against_base: None,
        })
    }

    /// The same answers against what other prompts expect.
    fn chance(
        self,
        grades: &Grades,
        measure: &Measure,
        is_in: impl Fn(usize) -> bool,
    ) -> Option<Chance> {
        let (others, own) = self.common(&grades.chance, &grades.rows, is_in);
        let value = estimate(measure, &others)?.value;
        let p_value = chance_p(measure, &others, &own);
        Some(Chance { value, p_value })
    }

    /// Rows that have sums, with their prompts.
    fn placed<'s>(self, rows: &'s [Option<Sums>], is_in: impl Fn(usize) -> bool) -> Vec<Row<'s>> {
        let placed = rows.iter().zip(self.prompts).enumerate();
        let in_slice = placed.filter(|(row, _)| is_in(*row));
        in_slice
            .filter_map(|(_, (sums, &prompt))| Some((prompt, sums.as_ref()?)))
            .collect()
    }

    /// Rows that have sums on both sides.
    fn common<'s>(
        self,
        one: &'s [Option<Sums>],
        other: &'s [Option<Sums>],
        is_in: impl Fn(usize) -> bool,
    ) -> (Vec<Row<'s>>, Vec<Row<'s>>) {
        let have = |row: usize| {
            let has = |rows: &[Option<Sums>]| rows.get(row).is_some_and(Option::is_some);
            is_in(row) && has(one) && has(other)
        };
        (self.placed(one, have), self.placed(other, have))
    }
}
