//! What every way through a decoder offers.
use crate::{Dropout, Error, Packed, Resident, Scales, SequenceLoss};
use lora_checkpoint::{ModelConfig, Scores};
use lora_core::Adapter;
use lora_kernels::profile::Profile;

/// A way through the decoder.
pub trait Route {
    /// Logits of all positions, (T, V) row-major. For tests and checks; never used in training.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the adapter does not fit the base.
    fn logits(&mut self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<f32>, Error>;

    /// Loss of each sequence.
    ///
    /// # Errors
    /// As for [`Route::logits`].
    fn losses(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
    ) -> Result<Vec<SequenceLoss>, Error>;

    /// Where the time went so far, if this is counted.
    fn profile(&self) -> Option<&Profile> {
        None
    }

    /// What a matrix product alone reaches where this route computes, if that is not the CPU.
    ///
    /// # Errors
    /// If the device fails.
    fn product_peak(&self) -> Result<Option<ProductPeak>, Error> {
        Ok(None)
    }

    /// The route as one that keeps an adapter where it is computed, if it can.
    fn resident(&mut self) -> Option<&mut dyn Resident> {
        None
    }

    /// Tokens of a pack that are computed for its gradients: all of them, unless common beginnings are shared.
    fn computed_tokens(&self, packed: &Packed, _dropout: Option<Dropout>) -> usize {
        packed.tokens()
    }

    /// Loss of each sequence; adds `scale` · d(Σ nll)/d(params) to `gradients` (laid out as `adapter.params`).
    ///
    /// # Errors
    /// As for [`Route::logits`].
    fn gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error>;

    /// As [`Route::gradients`], of the loss for the balance of experts beside that of the tokens. Gives the former, too, not yet
    /// multiplied.
    ///
    /// # Errors
    /// As for [`Route::gradients`], on a base without experts, and on a route that doesn't compute it.
    fn balanced_gradients(
        &mut self,
        _adapter: &Adapter,
        _packed: &Packed,
        _dropout: Option<Dropout>,
        _scales: Scales,
        _gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        Err(
            Error::invalid("no loss for the balance of experts is computed here")
                .hint("compute on the CPU"),
        )
    }
}

/// Refuses what has no loss for the balance of experts: a base without them, or whose router scores each for itself.
pub(crate) fn check_balance(config: &ModelConfig) -> Result<(), Error> {
    match config.experts.map(|own| own.scores) {
        Some(Scores::Softmax) => Ok(()),
        Some(Scores::Sigmoid) => Err(Error::invalid(
            "there is no loss for the balance of experts that are scored by sigmoids: transformers has none",
        )
        .hint("train without it")),
        None => Err(Error::invalid(
            "a base without experts has no loss for their balance",
        )),
    }
}

/// What a matrix product alone reaches on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct ProductPeak {
    /// FLOP/s.
    pub rate: f64,
    /// The device's name.
    pub device: String,
}
