//! Where the time of steps goes, kernel by kernel. Always counted: a look at the clock costs nothing beside a kernel.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Linear layers with their adapters, forward.
    LinearForward,
    /// Linear layers with their adapters, backward, with the adapters' gradients.
    LinearBackward,
    /// Products with the output head, both ways.
    Head,
    /// Scores, softmax and values.
    AttentionForward,
    /// The way back.
    AttentionBackward,
    /// Softmax over the vocabulary and its gradient.
    Loss,
    /// RMSNorm, both ways.
    Norm,
    /// Rotary embedding, both ways.
    Rotary,
    /// SwiGLU or GeGLU, both ways.
    Activation,
    /// Rows of the embedding.
    Embedding,
    /// Keeping activations for the backward pass, and bringing them back.
    Keep,
    /// Gradient norm and AdamW.
    Optimiser,
}

impl Part {
    /// All, in the order of a report.
    pub const ALL: [Self; 12] = [
        Self::LinearForward,
        Self::LinearBackward,
        Self::Head,
        Self::AttentionForward,
        Self::AttentionBackward,
        Self::Loss,
        Self::Norm,
        Self::Rotary,
        Self::Activation,
        Self::Embedding,
        Self::Keep,
        Self::Optimiser,
    ];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinearForward => "linear layers, forward",
            Self::LinearBackward => "linear layers, backward",
            Self::Head => "output head",
            Self::AttentionForward => "attention, forward",
            Self::AttentionBackward => "attention, backward",
            Self::Loss => "softmax and loss",
            Self::Norm => "norms",
            Self::Rotary => "rotary embedding",
            Self::Activation => "gated activation",
            Self::Embedding => "embedding",
            Self::Keep => "keeping activations",
            Self::Optimiser => "optimiser",
        }
    }

    /// Its time is spent in matrix products alone.
    #[must_use]
    pub const fn is_products(self) -> bool {
        matches!(
            self,
            Self::LinearForward | Self::LinearBackward | Self::Head
        )
    }
}

/// Time and operations by part.
#[derive(Debug, Default)]
pub struct Profile {
    nanoseconds: [AtomicU64; Part::ALL.len()],
    operations: [AtomicU64; Part::ALL.len()],
}

/// The counts of a [`Profile`] at some time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    nanoseconds: [u64; Part::ALL.len()],
    operations: [u64; Part::ALL.len()],
}

impl Profile {
    /// Runs `work`, which does so many floating-point operations, and counts its time.
    pub fn time<R>(&self, part: Part, operations: u64, work: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let result = work();
        self.nanoseconds[part as usize]
            .fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.operations[part as usize].fetch_add(operations, Ordering::Relaxed);
        result
    }

    /// Counts time that was measured elsewhere.
    pub fn add(&self, part: Part, time: Duration) {
        self.nanoseconds[part as usize].fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Seconds and floating-point operations of a part so far.
    #[must_use]
    pub fn of(&self, part: Part) -> (f64, f64) {
        let read = |counts: &[AtomicU64]| counts[part as usize].load(Ordering::Relaxed) as f64;
        (read(&self.nanoseconds) * 1e-9, read(&self.operations))
    }

    /// All counts, to come back to.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counts: &[AtomicU64; Part::ALL.len()]| {
            std::array::from_fn(|i| counts[i].load(Ordering::Relaxed))
        };
        Counts {
            nanoseconds: read(&self.nanoseconds),
            operations: read(&self.operations),
        }
    }

    /// Comes back to earlier counts: what happened in between is not of interest.
    pub fn restore(&self, counts: &Counts) {
        let write = |to: &[AtomicU64], from: &[u64]| {
            to.iter()
                .zip(from)
                .for_each(|(to, &n)| to.store(n, Ordering::Relaxed))
        };
        write(&self.nanoseconds, &counts.nanoseconds);
        write(&self.operations, &counts.operations);
    }
}
