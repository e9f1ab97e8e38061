//! What follows the last layer: the last norm, the output head, the loss and its gradient.
use super::engine::Engine;
use super::head_product::{Chunk, HeadProduct};
use super::head_room::{HeadSize, chunk, of_logits, of_loss};
use super::profile::timed;
use super::table_room::OF_HEAD;
use super::trained_norms::{NormBackward, TrainedNorm, add_gradients};
use crate::Dropout;
use crate::fused::targets::Targets;
use lora_checkpoint::Norm;
use lora_gpu::{Dtype, Error, Mat, RowLosses, Tensor, Write};
use lora_kernels::loss::TokenLoss;
use lora_kernels::profile::Part;

/// Rows of the hidden state whose logits are wanted.
struct Rows {
    /// Before the last norm, f32 (n, H), and 1 / their root mean square.
    hidden: Tensor,
    rstd: Tensor,
    /// After it, (n, H).
    normed: Tensor,
}

/// The gradient of the loss that is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct LossGradient<'g> {
    pub(super) scale: f32,
    /// That of the hidden state, f32 (T, H).
    pub(super) dx: &'g Tensor,
    /// Norms that train, and where their gradients go.
    pub(super) norms: &'g [TrainedNorm],
    pub(super) gradients: &'g Tensor,
    /// Of what the head's factors see.
    pub(super) dropout: Option<Dropout>,
}

/// The row of the hidden state that predicts each target.
fn predicting(targets: &Targets) -> Vec<u32> {
    let wanted = &targets.wanted;
    let row = |place: &usize| match &wanted.rows {
        Some(rows) => rows[*place],
        None => *place,
    };
    wanted
        .places
        .iter()
        .map(|place| row(place) as u32)
        .collect()
}

/// For each of `rows` rows, which of `targets` it predicts: where its list begins, and the lists.
fn by_row(predicting: &[u32], rows: usize) -> (Vec<u32>, Vec<u32>) {
    let mut sources: Vec<u32> = (0..predicting.len() as u32).collect();
    sources.sort_by_key(|&target| predicting[target as usize]); // stable: in the targets' order
    let mut starts = vec![0u32; rows + 1];
    for &row in predicting {
        starts[row as usize + 1] += 1;
    }
    for row in 0..rows {
        starts[row + 1] += starts[row];
    }
    (starts, sources)
}

impl Engine<'_> {
    /// Rows of the hidden state x (T, H), before and after the last norm.
    fn final_norm(&self, x: &Tensor, t: usize, rows: &[u32], to: &Rows) -> Result<(), Error> {
        let gpu = &self.gpu;
        let (n, h) = (rows.len(), self.config.hidden_size);
        let which = gpu.uploaded(Dtype::U32, rows)?;
        let hidden = to.hidden.mat(n, h);
        gpu.gather(x.mat(t, h), &which, 0, hidden)?;
        let eps = self.config.norm_eps as f32;
        let normed = to.normed.mat(n, h);
        let norm = &self.weights.norm;
        norm.forward(gpu, hidden, eps, normed, &to.rstd)?;
        self.divide_for_logits(normed)
    }

    /// Logits of the given rows of the hidden state x (T, H), (n, V).
    pub(super) fn logits_of(
        &mut self,
        x: &Tensor,
        t: usize,
        rows: &[u32],
    ) -> Result<Vec<f32>, Error> {
        let (h, v) = (self.config.hidden_size, self.config.vocab_size);
        let gpu = &self.gpu;
        let size = self.head_size(rows.len(), false);
        let pieces = of_logits(self.config, size, gpu.dtype());
        let [hidden, rstd, normed, logits, wide, room @ ..] = self.in_turn.get(gpu, pieces)?;
        let gathered = Rows {
            hidden,
            rstd,
            normed,
        };
        self.final_norm(x, t, rows, &gathered)?;
        let gpu = &self.gpu;
        let head = self.head_product((&wide, &room), None);
        let step = chunk(v);
        let mut all = vec![0.0; rows.len() * v];
        for (index, out) in all.chunks_mut(step * v).enumerate() {
            let (first, n) = (index * step, out.len() / v);
            let hidden = gathered.normed.mat(rows.len(), h);
            let of = Chunk {
                hidden: hidden.of_rows(first..first + n),
                first,
            };
            let to = logits.mat(n, v);
            head.logits(of, to)?;
            if let Some(cap) = self.config.logit_softcap {
                gpu.soft_cap(to, cap as f32)?;
            }
            gpu.download(&logits, out)?;
        }
        Ok(all)
    }

    /// The head as memory sees it, for the logits of n rows.
    pub(super) fn head_size(&self, rows: usize, drops: bool) -> HeadSize {
        HeadSize {
            rows,
            wide: self.own_tables.head_table(&self.weights).widened(),
            needs: self.own_tables.needs[1],
            drops,
        }
    }

    fn head_product<'h>(
        &'h self,
        (wide, room): (&'h Tensor, &'h [Tensor; OF_HEAD]),
        dropout: Option<Dropout>,
    ) -> HeadProduct<'h> {
        HeadProduct {
            gpu: &self.gpu,
            table: self.own_tables.head_table(&self.weights),
            own: &self.own_tables.head,
            wide,
            room,
            dropout,
        }
    }

    /// Losses of the supervised rows; if gradients are asked for, `dx` (T, H) becomes scale · dΣnll/dx.
    pub(super) fn loss(
        &mut self,
        pass_rows: usize,
        x: &Tensor,
        targets: &Targets,
        gradient: Option<LossGradient<'_>>,
    ) -> Result<Vec<TokenLoss>, Error> {
        let (h, v, n) = (
            self.config.hidden_size,
            self.config.vocab_size,
            targets.ids.len(),
        );
        let rows = predicting(targets);
        let dropout = gradient.and_then(|back| back.dropout);
        let size = self.head_size(n, dropout.is_some());
        let pieces = of_loss(self.config, size, self.gpu.dtype());
        let pieces = self.in_turn.get(&self.gpu, pieces)?;
        let [
            hidden,
            rstd,
            normed,
            logits,
            d_hidden,
            d_normed,
            d_logits,
            wide,
            room @ ..,
        ] = pieces;
        let gathered = Rows {
            hidden,
            rstd,
            normed,
        };
        self.final_norm(x, pass_rows, &rows, &gathered)?;
        let gpu = &self.gpu;
        let ids = gpu.uploaded(Dtype::U32, &targets.ids)?;
        let losses = self.head.losses.get(gpu, n)?;
        let correct = self.head.correct.get(gpu, n)?;
        let step = chunk(v).min(n.max(1));
        let head = self.head_product((&wide, &room), dropout);
        let softcap = self.config.logit_softcap.map(|cap| cap as f32);
        let profile = self.profile.as_deref();
        let operations = |rows: usize| (2 * rows * v * h) as u64;
        for first in (0..n).step_by(step) {
            let count = step.min(n - first);
            let hidden = gathered.normed.mat(n, h).of_rows(first..first + count);
            let of = Chunk { hidden, first };
            let to = logits.mat(count, v);
            timed(profile, gpu, Part::Head, operations(count), || {
                head.logits(of, to)
            })?;
            let d = gradient.map(|back| (back.scale, d_logits.mat(count, v)));
            timed(profile, gpu, Part::Loss, 0, || {
                let of_rows = RowLosses {
                    targets: &ids,
                    losses: &losses,
                    correct: &correct,
                    first,
                };
                gpu.cross_entropy(to, of_rows, softcap, d)
            })?;
            if let Some(((_, d), back)) = d.zip(gradient) {
                let to = d_normed.mat(n, h).of_rows(first..first + count);
                timed(profile, gpu, Part::Head, operations(count), || {
                    head.backward(of, d, to, back.gradients)
                })?;
            }
        }
        if let Some(back) = gradient {
            let from = (&gathered, d_normed.mat(n, h), &d_hidden);
            self.loss_backward(pass_rows, &rows, from, back)?;
        }
        let gpu = &self.gpu;
        let mut nll = vec![0f32; n];
        let mut is_correct = vec![0u32; n];
        gpu.download(&losses, &mut nll)?;
        gpu.download(&correct, &mut is_correct)?;
        let tokens = nll.iter().zip(&is_correct);
        let tokens = tokens.map(|(&nll, &correct)| TokenLoss {
            nll,
            correct: correct != 0,
        });
        Ok(tokens.collect())
    }

    /// Divides what the head reads, or its gradient, by what logits are divided by.
    fn divide_for_logits(&self, hidden: Mat<'_>) -> Result<(), Error> {
        match self.config.multipliers.logits {
            1.0 => Ok(()),
            divisor => self.gpu.convert(hidden, (1.0 / divisor) as f32, hidden),
        }
    }

    /// Through the last norm, to all rows: a row that predicts nothing gets 0, one that predicts several targets their sum.
    fn loss_backward(
        &self,
        t: usize,
        rows: &[u32],
        (gathered, d_normed, d_hidden): (&Rows, Mat<'_>, &Tensor),
        to: LossGradient<'_>,
    ) -> Result<(), Error> {
        let gpu = &self.gpu;
        let (h, n) = (self.config.hidden_size, rows.len());
        self.divide_for_logits(d_normed)?;
        let norm = &self.weights.norm;
        let back = NormBackward {
            x: gathered.hidden.mat(n, h),
            rstd: &gathered.rstd,
            dn: d_normed,
            means: norm.subtracts_mean().then_some(d_hidden), // written below
        };
        let last = (None, Norm::Input);
        add_gradients(gpu, to.norms, (last, back), to.gradients)?;
        let d_rows = d_hidden.mat(n, h);
        norm.backward(
            gpu,
            gathered.hidden.mat(n, h),
            &gathered.rstd,
            d_normed,
            d_rows,
            Write::Replace,
        )?;
        let (starts, sources) = by_row(rows, t);
        let starts = gpu.uploaded(Dtype::U32, &starts)?;
        let sources = gpu.uploaded(Dtype::U32, &sources)?;
        gpu.sum_rows(d_rows, &starts, &sources, to.dx.mat(t, h))
    }
}
