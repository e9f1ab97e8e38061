//! What every route answers.
use super::{OnGpu, profile};
use crate::fused::batch::Prefixes;
use crate::route::check_balance;
use crate::{Dropout, Error, Packed, ProductPeak, Resident, Route, Scales, SequenceLoss};
use lora_core::Adapter;
use lora_kernels::profile::Profile;

impl OnGpu<'_> {
    /// Losses and gradients of a pack; of the balance of experts, too, if it has a weight.
    fn learn(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        weights: (f32, Option<f32>),
        gradients: &mut [f32],
    ) -> Result<Learned, Error> {
        if gradients.len() != adapter.params.len() {
            let (got, want) = (gradients.len(), adapter.params.len());
            return Err(Error::invalid(format!(
                "the gradient has {got} values, the adapter {want}"
            )));
        }
        let binding = self.binding(Some(adapter), packed, dropout)?;
        if let Some(nothing) = self.nothing_to_learn(packed, weights.1)? {
            return Ok(nothing);
        }
        let batch = self.batch(packed, dropout);
        let work = (packed, &batch);
        self.engine
            .gradients(&binding, work, dropout, weights, gradients)
    }

    /// What a pack comes to of which no gradient is needed, if it is such a one. Unsupervised tokens count for the balance of
    /// experts.
    ///
    /// # Errors
    /// If that is asked for, and there are no experts.
    pub(super) fn nothing_to_learn(
        &self,
        packed: &Packed,
        balance: Option<f32>,
    ) -> Result<Option<Learned>, Error> {
        if balance.is_some() {
            check_balance(self.engine.config)?;
        }
        let counted = match balance {
            Some(_) => packed.tokens(),
            None => packed.supervised(),
        };
        Ok((counted == 0).then(|| (nothing_learned(packed), balance.map(|_| 0.0))))
    }
}

/// The losses of sequences, and the loss for the balance of experts where it counts.
type Learned = (Vec<SequenceLoss>, Option<f64>);

/// The losses of sequences of which no token is supervised.
fn nothing_learned(packed: &Packed) -> Vec<SequenceLoss> {
    vec![SequenceLoss::default(); packed.sequences()]
}

impl Route for OnGpu<'_> {
    fn profile(&self) -> Option<&Profile> {
        self.engine.profile.as_deref()
    }

    fn product_peak(&self) -> Result<Option<ProductPeak>, Error> {
        Ok(Some(profile::product_peak(&self.engine.gpu)?))
    }

    fn resident(&mut self) -> Option<&mut dyn Resident> {
        Some(self)
    }

    fn computed_tokens(&self, packed: &Packed, dropout: Option<Dropout>) -> usize {
        self.batch(packed, dropout).tokens()
    }

    fn logits(&mut self, adapter: Option<&Adapter>, packed: &Packed) -> Result<Vec<f32>, Error> {
        let binding = self.binding(adapter, packed, None)?;
        let batch = self.laid_out(packed, Prefixes::Separate);
        if batch.tokens() == 0 {
            return Ok(Vec::new());
        }
        self.engine.logits(&binding, &batch)
    }

    fn losses(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
    ) -> Result<Vec<SequenceLoss>, Error> {
        let binding = self.binding(adapter, packed, None)?;
        if packed.supervised() == 0 {
            return Ok(nothing_learned(packed));
        }
        let batch = self.batch(packed, None);
        self.engine.losses(&binding, packed, &batch)
    }

    fn gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scale: f32,
        gradients: &mut [f32],
    ) -> Result<Vec<SequenceLoss>, Error> {
        let weights = (scale, None);
        Ok(self.learn(adapter, packed, dropout, weights, gradients)?.0)
    }

    fn balanced_gradients(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        dropout: Option<Dropout>,
        scales: Scales,
        gradients: &mut [f32],
    ) -> Result<(Vec<SequenceLoss>, f64), Error> {
        let weights = (scales.nll, Some(scales.balance));
        let (losses, balance) = self.learn(adapter, packed, dropout, weights, gradients)?;
        let balance =
            balance.ok_or_else(|| Error::invalid("the balance of experts was not computed"))?;
        Ok((losses, balance))
    }
}
