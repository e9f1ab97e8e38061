//! Generation on the CPU.
use super::Fused;
use super::batch::{Batch, Prefixes};
use super::binding::Binding;
use super::cache::LayerCache;
use super::engine::{Around, Engine};
use super::rows::Wanted;
use crate::Error;
use crate::generate::{Decoder, Generate, Limits, cache_rows, continued, packed};
use lora_core::Adapter;

impl Generate for Fused<'_> {
    fn generate(
        &mut self,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        max_new_tokens: usize,
        stop: &[u32],
    ) -> Result<Vec<Vec<u32>>, Error> {
        let config = self.base.config();
        let (packed, prefixes) = packed(config, prompts, max_new_tokens)?;
        let prefixes = match self.prefixes(None) {
            Prefixes::Separate => Prefixes::Separate,
            Prefixes::Shared => prefixes,
        };
        let limits = Limits {
            max_new_tokens,
            stop,
        };
        self.run(adapter, &packed, None, |engine, binding| {
            let batch = engine.batch(&packed, prefixes);
            let width = config.num_key_value_heads * config.head_dim;
            let rows = cache_rows(&batch, prompts.len(), max_new_tokens);
            let layers = 0..config.num_hidden_layers;
            let mut decoding = Decoding {
                engine,
                binding: &binding,
                cache: layers.map(|_| LayerCache::new(rows, width)).collect(),
            };
            continued(config, prompts, &batch, limits, &mut decoding)
        })?
    }
}

/// An engine with a cache.
struct Decoding<'d, 'b> {
    engine: &'d mut Engine<'b>,
    binding: &'d Binding<'d>,
    cache: Vec<LayerCache>,
}

impl Decoder for Decoding<'_, '_> {
    fn decode(&mut self, batch: &Batch, rows: Vec<usize>) -> Result<Vec<f32>, Error> {
        let Wanted { rows, places } = Wanted::of(rows, batch.tokens());
        let around = Around {
            cache: Some(&mut self.cache),
            wanted: rows.as_deref(),
        };
        self.engine.forward(self.binding, batch, around);
        Ok(self.engine.logits_of(self.binding, &places))
    }
}
