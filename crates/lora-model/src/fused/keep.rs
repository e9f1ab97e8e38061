//! What a layer keeps of its forward pass until its backward pass, and how it is brought back.
use super::buffers::{Buffer, Kept, Precision, Saved, copy};
use crate::spec::Projection;
use lora_kernels::{half as bf16, memory};

/// What a training step keeps for its backward pass. Layers are counted from the lowest that needs a gradient on. What a step
/// computes depends on `rounds` alone; how many layers keep what is a matter of memory and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// So many of the first layers keep their activations as they are, but for those in `rounds`.
    pub exact: usize,
    /// So many of the layers in `rounds`, from its first on, keep theirs rounded. All that keep neither keep their input and are
    /// computed again, but for the last one, whose activations are still there.
    pub rounded: usize,
    /// The first layer whose activations are rounded to bfloat16 for the backward pass (queries, keys and what norms divide by
    /// are not), kept or computed again, and how many there are.
    pub rounds: (usize, usize),
}

impl Plan {
    /// Every layer keeps its activations as they are.
    pub const ALL: Self = Self::keeping(usize::MAX, 0);
    /// Every layer is computed again.
    pub const LEANEST: Self = Self::keeping(0, 0);

    /// The first layers keep their activations as they are, and so many above them rounded.
    #[must_use]
    pub const fn keeping(exact: usize, rounded: usize) -> Self {
        Self {
            exact,
            rounded,
            rounds: (exact, rounded),
        }
    }

    /// Whether layer `at` rounds, and whether it keeps its activations.
    pub(super) fn of(self, at: usize) -> (bool, bool) {
        let (first, layers) = self.rounds;
        let place = at.checked_sub(first).filter(|place| *place < layers);
        match place {
            Some(place) => (true, place < self.rounded),
            None => (false, at < self.exact),
        }
    }

    /// What layer `index` of `layers` keeps, where nothing below `lowest` needs a gradient.
    pub(super) fn of_layer(self, index: usize, lowest: usize, layers: usize) -> Keeping {
        if index + 1 == layers || index < lowest {
            return Keeping::Nothing;
        }
        match self.of(index - lowest) {
            (false, true) => Keeping::All,
            (true, true) => Keeping::Half,
            (rounds, false) => Keeping::Input { rounds },
        }
    }
}

/// What one layer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Nothing: no gradient passes, or nothing is computed in between.
    Nothing,
    /// Its input, from which the rest is computed again, and rounded as if it had been kept in bfloat16.
    Input { rounds: bool },
    /// Everything, most of it in bfloat16.
    Half,
    /// Everything.
    All,
}

/// Rounds what a layer computed again to what it would have kept in bfloat16.
pub(super) fn round(saved: &mut Saved) {
    saved.visit(|buffer, precision| {
        if precision == Precision::Rounded {
            bf16::round(buffer.used_mut());
        }
    });
}

/// Memory in which one layer keeps its forward pass; grown to the largest batch seen.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) all: Saved,
    half: Vec<u16>,
    exact: Vec<f32>,
    /// Length of each buffer that is kept in `half` or `exact`.
    lengths: Vec<usize>,
    input: Buffer,
    /// What Down's factor A made of its input: Down itself is not computed again.
    down: Kept,
}

impl Store {
    /// Keeps a forward pass in bfloat16.
    pub(super) fn keep_half(&mut self, saved: &mut Saved) {
        let Self {
            half,
            exact,
            lengths,
            ..
        } = self;
        lengths.clear();
        let mut rounded_len = 0;
        let mut exact_len = 0;
        saved.visit(|buffer, precision| {
            let len = buffer.used().len();
            lengths.push(len);
            match precision {
                Precision::Exact => exact_len += len,
                Precision::Rounded => rounded_len += len,
            }
        });
        memory::grow(half, rounded_len);
        memory::grow(exact, exact_len);
        let mut half = &mut half[..];
        let mut exact = &mut exact[..];
        saved.visit(|buffer, precision| {
            let values = buffer.used();
            let len = values.len();
            match precision {
                Precision::Exact => copy(values, exact.split_off_mut(..len).unwrap_or_default()),
                Precision::Rounded => {
                    bf16::narrow(values, half.split_off_mut(..len).unwrap_or_default());
                }
            }
        });
    }

    /// Brings it back.
    pub(super) fn restore_half(&self, saved: &mut Saved) {
        let mut half = &self.half[..];
        let mut exact = &self.exact[..];
        let mut lengths = self.lengths.iter();
        saved.visit(|buffer, precision| {
            let n = lengths.next().copied().unwrap_or(0);
            let to = buffer.get(n);
            match precision {
                Precision::Exact => {
                    copy(&exact[..n], to);
                    exact = &exact[n..];
                }
                Precision::Rounded => {
                    bf16::widen(&half[..n], to);
                    half = &half[n..];
                }
            }
        });
    }

    /// Keeps the input of a forward pass.
    pub(super) fn keep_input(&mut self, saved: &Saved) {
        self.input.set(saved.x.used());
        let down = &saved.u[Projection::Down.index()];
        self.down.u.set(down.u.used());
        self.down.z.set(down.z.used());
    }

    /// The input; what belongs to Down goes back into `saved`.
    pub(super) fn restore_input(&self, saved: &mut Saved) -> &[f32] {
        let down = &mut saved.u[Projection::Down.index()];
        down.u.set(self.down.u.used());
        down.z.set(self.down.z.used());
        self.input.used()
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let exact = self.exact.len() + self.input.len() + self.down.u.len() + self.down.z.len();
        2 * self.half.len() + 4 * exact
    }
}
