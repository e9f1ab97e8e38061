//! What a plan is fitted into: this machine, or a GPU.
use super::plan::Plan;
use crate::cost::{BaseType, Card, Speed, Workload, memory, on_card, time, time_on_card};
use crate::model::shape::Shape;
use lora_model::Base;

/// Where it trains.
#[derive(Debug)]
pub(super) enum Machine<'m> {
    /// Here, within so much memory.
    Cpu {
        memory: Option<u64>,
        speed: &'m Speed,
    },
    /// On a GPU; the base's files, if it has any.
    Gpu { card: Card, files: Option<&'m Base> },
}

/// What a plan takes there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub(super) bytes: u64,
    /// With the passes over held-out rows; NaN if nobody knows.
    pub(super) seconds: f64,
    pub(super) is_too_large: bool,
}

impl Machine<'_> {
    /// What so many epochs and evaluations take.
    pub(super) fn need(
        &self,
        shape: &Shape,
        work: &Workload,
        (epochs, evaluations): (f64, f64),
    ) -> Need {
        match self {
            Self::Cpu {
                memory: most,
                speed,
            } => {
                let bytes = memory(shape, work).total;
                let time = time(shape, work, speed);
                Need {
                    bytes,
                    seconds: time.epoch * epochs + time.evaluation * evaluations,
                    is_too_large: most.is_some_and(|most| bytes > most),
                }
            }
            Self::Gpu { card, files } => {
                let found = on_card(shape, work, *files, card);
                let epoch = card.rates.map_or(f64::NAN, |rates| {
                    time_on_card(shape, work, &found, rates).epoch[0] // the slower end
                });
                // Held-out rows go forward alone: about a third of a step.
                let held_out = work.valid.0 as f64 / work.tokens.max(1) as f64 / 3.0;
                Need {
                    bytes: found.total,
                    seconds: epoch * (epochs + held_out * evaluations),
                    is_too_large: !found.fits,
                }
            }
        }
    }

    /// Names a GPU among the choices.
    pub(super) fn name(&self, plan: &mut Plan) {
        if let Self::Gpu { card, .. } = self {
            plan.device = Some(*card);
            let reason = "layers are computed again as far as its memory asks for it";
            plan.choose("device", card, reason, "lora-plan memory --device");
        }
    }

    /// Why the base may stay as it is, and who says so.
    pub(super) fn own_base(&self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu { .. } => (
                "as it is: reading it in place costs nothing",
                "lora-train widens weights panel by panel",
            ),
            Self::Gpu { .. } => (
                "as it is: blocks stay blocks on the card, all else is bf16 there",
                "lora-plan memory --device",
            ),
        }
    }

    /// The narrowest type of a base.
    pub(super) fn narrowest(&self) -> BaseType {
        match self {
            Self::Cpu { .. } => BaseType::Q4_0,
            Self::Gpu { .. } => BaseType::Q4K,
        }
    }
}
