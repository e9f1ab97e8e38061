//! How the output of a product is cut into tasks.
use super::left::BLOCK;
use std::ops::Range;

/// Columns of a task at most, about: a block of them lies in the second-level cache beside a block of rows.
const COLUMNS: usize = 192;
/// Columns of a task at least: fewer don't pay for walking over all rows.
const FEWEST_COLUMNS: usize = 64;
/// Tasks a thread from which it does not matter whether they divide evenly.
const MANY: usize = 4;

/// Values that one thread packs at most, about, where the extra part has so many steps.
#[must_use]
pub fn scratch_len(extra: usize) -> usize {
    (COLUMNS + FEWEST_COLUMNS) * (BLOCK + extra)
}

/// A part of the output that one task computes.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) task: usize,
    pub(super) columns: Range<usize>,
    /// Panels of tile rows.
    pub(super) panels: Range<usize>,
}

/// Tasks of some columns by some panels of tile rows: each element of the output is in exactly one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    all_columns: usize,
    all_panels: usize,
    columns: usize,
    panels: usize,
    row_tasks: usize,
}

impl Split {
    /// For an output of `n` columns, of which whole `step`s stay together, and of `panels` panels of tile rows.
    pub(super) fn of(n: usize, step: usize, panels: usize, threads: usize) -> Self {
        let even = n.div_ceil(COLUMNS).next_multiple_of(threads);
        let columns = n
            .div_ceil(even.min(n / FEWEST_COLUMNS).max(1))
            .next_multiple_of(step);
        let column_tasks = n.div_ceil(columns);
        let is_even = column_tasks.is_multiple_of(threads) || column_tasks >= MANY * threads;
        let row_parts = if is_even {
            1
        } else {
            threads / gcd(column_tasks, threads)
        };
        let panels_each = panels.div_ceil(row_parts);
        Self {
            all_columns: n,
            all_panels: panels,
            columns,
            panels: panels_each,
            row_tasks: panels.div_ceil(panels_each),
        }
    }

    pub(super) fn tasks(self) -> usize {
        self.all_columns.div_ceil(self.columns) * self.row_tasks
    }

    pub(super) fn task(self, task: usize) -> Region {
        let column = task / self.row_tasks * self.columns;
        let panel = task % self.row_tasks * self.panels;
        Region {
            task,
            columns: column..self.all_columns.min(column + self.columns),
            panels: panel..self.all_panels.min(panel + self.panels),
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_is_in_one_task() {
        for n in [1, 31, 32, 64, 191, 193, 576, 1536, 5000] {
            for panels in [1, 2, 7, 43] {
                for (threads, step) in [(1, 16), (2, 32), (3, 256), (5, 8), (16, 32)] {
                    let split = Split::of(n, step, panels, threads);
                    let mut seen = vec![0u8; n * panels];
                    for region in (0..split.tasks()).map(|task| split.task(task)) {
                        assert!(!region.columns.is_empty() && !region.panels.is_empty());
                        assert!(region.columns.start.is_multiple_of(step));
                        for panel in region.panels {
                            let row = &mut seen[panel * n..(panel + 1) * n];
                            row[region.columns.clone()].iter_mut().for_each(|s| *s += 1);
                        }
                    }
                    assert!(
                        seen.iter().all(|&times| times == 1),
                        "{n} columns, {panels} panels, {threads} threads, steps of {step}"
                    );
                }
            }
        }
    }
}
