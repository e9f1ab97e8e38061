//! y = a·x + b through points: the smallest thing that trains.
use lora_model::SequenceLoss;
use lora_training::{BatchLoss, Error, MicroBatch, RowSize, Slot, Trainable};
use std::path::Path;

/// A point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// Its tokens, as far as batches are concerned.
    pub(crate) tokens: usize,
}

/// Points on y = 3x − 1, of unequal lengths.
pub(crate) fn points(n: usize) -> Vec<Point> {
    let point = |i: usize| {
        let x = (i as f32 * 0.7).sin();
        Point {
            x,
            y: 3.0 * x - 1.0,
            tokens: 1 + i * 5 % 7,
        }
    };
    (0..n).map(point).collect()
}

/// The line, and what it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) params: Vec<f32>,
    slots: Vec<Slot>,
    /// Number of every micro-batch.
    pub(crate) numbers: Vec<u64>,
    /// What the balance of each was to be multiplied by.
    pub(crate) balances: Vec<Option<f32>>,
}

impl Line {
    pub(crate) fn new() -> Self {
        let slot = |name: &str, at: usize| Slot {
            name: name.to_owned(),
            range: at..at + 1,
            decays: false,
            rate: 1.0,
            follows: None,
        };
        Self {
            params: vec![0.0, 0.0],
            slots: vec![slot("a", 0), slot("b", 1)],
            numbers: Vec::new(),
            balances: Vec::new(),
        }
    }

    fn residual(&self, point: &Point) -> f32 {
        self.params[0] * point.x + self.params[1] - point.y
    }
}

impl Trainable for Line {
    type Row = Point;

    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn params(&self) -> &[f32] {
        &self.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    fn size(&self, row: &Point) -> RowSize {
        RowSize {
            tokens: row.tokens,
            supervised: 1,
        }
    }

    fn gradients(
        &mut self,
        rows: &[&Point],
        batch: MicroBatch,
        gradients: &mut [f32],
    ) -> Result<BatchLoss, Error> {
        self.numbers.push(batch.number);
        self.balances.push(batch.balance);
        for point in rows {
            let slope = 2.0 * self.residual(point) * batch.scale;
            gradients[0] += slope * point.x;
            gradients[1] += slope;
        }
        Ok(BatchLoss {
            balance: batch.balance.map(|_| rows.len() as f64),
            ..self.losses(rows)?
        })
    }

    fn losses(&mut self, rows: &[&Point]) -> Result<BatchLoss, Error> {
        let loss = |point: &&Point| SequenceLoss {
            nll: f64::from(self.residual(point).powi(2)),
            tokens: 1,
            correct: usize::from(self.residual(point).abs() < 0.1),
        };
        let tokens = rows.iter().map(|point| point.tokens).sum();
        Ok(BatchLoss {
            rows: rows.iter().map(loss).collect(),
            tokens,
            computed: tokens,
            balance: None,
        })
    }

    fn save(&self, params: &[f32], dir: &Path) -> Result<(), Error> {
        std::fs::write(dir.join("line"), format!("{params:?}")).unwrap();
        Ok(())
    }
}
