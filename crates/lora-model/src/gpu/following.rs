//! Passes that send tokens to the experts that those of another pass chose.
use super::OnGpu;
use crate::fused::chosen::Chooser;
use crate::{ChosenExperts, Error, Packed, Route};
use lora_core::Adapter;

impl OnGpu<'_> {
    /// Tokens go to the experts that those of another pass over the same pack chose, whatever they would choose: two models
    /// that differ by rounding can be compared so. Nothing is shared then.
    ///
    /// A pass over another pack, or of a base with fewer experts, panics.
    #[must_use]
    pub fn following(mut self, chosen: ChosenExperts) -> Self {
        self.engine.chooser = Chooser::following(chosen);
        self
    }

    /// Logits of all positions, (T, V) row-major, and the experts that the tokens choose. Those of another pass over the same
    /// pack may be `followed`: tokens go to them, whatever they would choose.
    ///
    /// # Errors
    /// As for [`Route::logits`].
    ///
    /// # Panics
    /// If those followed are of another pack, or of a base with fewer experts.
    pub fn logits_by_experts(
        &mut self,
        adapter: Option<&Adapter>,
        packed: &Packed,
        followed: Option<&ChosenExperts>,
    ) -> Result<(Vec<f32>, ChosenExperts), Error> {
        let begun = Chooser::begun(followed.cloned());
        let before = std::mem::replace(&mut self.engine.chooser, begun);
        let logits = self.logits(adapter, packed);
        let chooser = std::mem::replace(&mut self.engine.chooser, before);
        Ok((logits?, chooser.ended()))
    }
}
