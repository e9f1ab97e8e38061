//! Keys and values that layers read of an earlier one: they stay where they are until its backward pass, which takes the sum of
//! their gradients. In generation the layers read that one's cache.
use super::pass::LayerPass;
use super::saved::Saved;
use super::shared_scratch::{SharedKeys, Source};
use lora_gpu::{Error, Mat};

impl<'p> LayerPass<'p> {
    /// What it shares with others: its own, or another's.
    fn shared(self) -> Option<&'p SharedKeys> {
        let source = self.pass.config.keys_of(self.index).unwrap_or(self.index);
        let mut all = self.scratch.shared.iter();
        all.find(|shared| shared.source.layer == source)
    }

    /// Keeps the layer's keys and values, if others read them; of one that reads another's, takes them behind its queries.
    pub(super) fn share_keys(self, saved: &Saved) -> Result<(), Error> {
        let Some(shared) = self.shared().filter(|_| self.pass.cache.is_none()) else {
            return Ok(());
        };
        let own = self.own_kv(self.saved_qkv(saved));
        let kept = shared.kv.mat(self.pass.rows, own.columns());
        match shared.source.layer == self.index {
            true => self.pass.gpu.convert(own, 1.0, kept),
            false => self.pass.gpu.convert(kept, 1.0, own),
        }
    }

    /// Gradients of keys and values, (T, 2·kv): those of another layer's join its others; to those of a layer that others read,
    /// theirs are added.
    pub(super) fn join_key_gradients(self, d_kv: Mat<'_>) -> Result<(), Error> {
        let Some(shared) = self.shared() else {
            return Ok(());
        };
        let gpu = self.pass.gpu;
        let sum = shared.d_kv.mat(self.pass.rows, d_kv.columns());
        let Source { layer, highest, .. } = shared.source;
        match self.index {
            own if own == layer => gpu.add(sum, d_kv),
            other if other == highest => gpu.convert(d_kv, 1.0, sum),
            _ => gpu.add(d_kv, sum),
        }
    }
}
