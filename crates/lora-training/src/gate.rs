//! What must hold of gradients and losses, or the run stops and names the tensor: the first-step gate, and finiteness.
use crate::error::{Error, Result};
use crate::trainable::Slot;

/// The first-step gate: every tensor that should have a gradient has a finite, non-zero one. A tensor is judged at the
/// first step at which it should: a lora_A not before its lora_B has left zero, and the other way round.
#[derive(Debug)]
pub(crate) struct Gate {
    pending: Vec<usize>,
}

impl Gate {
    /// All tensors are still to be judged.
    pub(crate) fn new(slots: &[Slot]) -> Self {
        Self {
            pending: (0..slots.len()).collect(),
        }
    }

    /// Whether every tensor was judged.
    pub(crate) fn is_through(&self) -> bool {
        self.pending.is_empty()
    }

    /// Judges the gradients of a step (counted from 1), taken at `params`.
    pub(crate) fn judge(
        &mut self,
        slots: &[Slot],
        params: &[f32],
        gradients: &[f32],
        step: u64,
    ) -> Result<()> {
        let mut pending = Vec::new();
        for &index in &self.pending {
            let slot = &slots[index];
            let is_zero = gradients[slot.range.clone()].iter().all(|&g| g == 0.0);
            let waits = slot
                .follows
                .as_ref()
                .is_some_and(|b| params[b.clone()].iter().all(|&x| x == 0.0));
            match (waits, is_zero) {
                (true, true) => pending.push(index),
                (true, false) => {
                    return Err(Error::ImpossibleGradient {
                        tensor: slot.name.clone(),
                        step,
                    });
                }
                (false, true) => {
                    return Err(Error::ZeroGradient {
                        tensor: slot.name.clone(),
                        step,
                    });
                }
                (false, false) => {}
            }
        }
        self.pending = pending;
        Ok(())
    }
}

/// Refuses a loss or a gradient that is not finite. Cheap as long as all is well: the norm tells.
pub(crate) fn check_finite(
    slots: &[Slot],
    gradients: &[f32],
    norm: f64,
    loss: f64,
    step: u64,
) -> Result<()> {
    if loss.is_finite() && norm.is_finite() {
        return Ok(());
    }
    let tensor = first_not_finite(slots, gradients);
    let message = match (loss.is_finite(), tensor) {
        (false, Some(name)) => {
            format!("the loss is {loss} at step {step}, and the gradient of {name} is not finite")
        }
        (false, None) => format!("the loss is {loss} at step {step}"),
        (true, name) => format!(
            "the gradient of {} is not finite at step {step}",
            name.unwrap_or("the model")
        ),
    };
    Err(Error::NotFinite {
        what: message,
        row: None,
        at_start: step == 1,
    })
}

/// Refuses to go on from, or to save, parameters that are not finite.
pub(crate) fn check_params(slots: &[Slot], params: &[f32], step: u64) -> Result<()> {
    match first_not_finite(slots, params) {
        None => Ok(()),
        Some(name) => Err(Error::NotFinite {
            what: format!("{name} is not finite after step {step}"),
            row: None,
            at_start: step == 0,
        }),
    }
}

fn first_not_finite<'a>(slots: &'a [Slot], values: &[f32]) -> Option<&'a str> {
    slots
        .iter()
        .find(|slot| values[slot.range.clone()].iter().any(|x| !x.is_finite()))
        .map(|slot| slot.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One module: A in 0..2, B in 2..4.
    fn slots() -> [Slot; 2] {
        let slot = |name: &str, range, follows| Slot {
            name: name.to_owned(),
            range,
            decays: true,
            rate: 1.0,
            follows,
        };
        [
            slot("q_proj.lora_A", 0..2, Some(2..4)),
            slot("q_proj.lora_B", 2..4, Some(0..2)),
        ]
    }

    fn judge(
        gate: &mut Gate,
        params: [f32; 4],
        gradients: [f32; 4],
        step: u64,
    ) -> Result<(), String> {
        gate.judge(&slots(), &params, &gradients, step)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn a_waits_for_b_and_is_judged_once_b_has_left_zero() {
        let mut gate = Gate::new(&slots());
        judge(&mut gate, [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0], 1).unwrap();
        assert_eq!(gate.pending, [0]);
        let error = judge(&mut gate, [1.0, 2.0, 0.1, 0.0], [0.0, 0.0, 0.5, 0.0], 2).unwrap_err();
        assert_eq!(
            error,
            "the gradient of q_proj.lora_A is exactly zero at step 2"
        );
        judge(&mut gate, [1.0, 2.0, 0.1, 0.0], [0.1, 0.0, 0.5, 0.0], 2).unwrap();
        assert!(gate.pending.is_empty());
    }

    #[test]
    fn a_b_without_a_gradient_stops_the_first_step() {
        let error = judge(&mut Gate::new(&slots()), [1.0, 2.0, 0.0, 0.0], [0.0; 4], 1).unwrap_err();
        assert_eq!(
            error,
            "the gradient of q_proj.lora_B is exactly zero at step 1"
        );
    }

    #[test]
    fn an_a_with_a_gradient_that_it_cannot_have_is_a_bug() {
        let error = judge(
            &mut Gate::new(&slots()),
            [1.0, 2.0, 0.0, 0.0],
            [0.1, 0.0, 0.5, 0.0],
            1,
        )
        .unwrap_err();
        assert!(
            error.contains("q_proj.lora_A has a gradient at step 1"),
            "{error}"
        );
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let gradients = [0.0, 0.0, f32::NAN, 0.0];
        let error = check_finite(&slots(), &gradients, f64::NAN, 1.0, 7)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the gradient of q_proj.lora_B is not finite at step 7"
        );
        let error = check_finite(&slots(), &gradients, f64::NAN, f64::NAN, 7)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the loss is NaN at step 7, and the gradient of q_proj.lora_B is not finite"
        );
        let error = check_params(&slots(), &[0.0, f32::INFINITY, 0.0, 0.0], 7)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "q_proj.lora_A is not finite after step 7");
        check_finite(&slots(), &[0.0; 4], 0.0, 1.0, 7).unwrap();
    }
}
