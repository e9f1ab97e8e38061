//! Generation on the CPU.
use super::Fused;
use super::batch::{Batch, Prefixes};
use super::binding::Binding;
use super::cache::LayerCache;
use super::engine::{Around, Engine};
use super::rows::Wanted;
use crate::Error;
use crate::generate::{Decoder, Decoding, Generate, Watch, cache_rows, continued, packed};
use lora_core::Adapter;

impl Generate for Fused<'_> {
    fn decode(
        &mut self,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        how: &Decoding<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Vec<u32>>, Error> {
        let config = self.base.config();
        let (packed, prefixes) = packed(config, prompts, how.max_new_tokens)?;
        let prefixes = match self.prefixes(None) {
            Prefixes::Separate => Prefixes::Separate,
            Prefixes::Shared => prefixes,
        };
        self.run(adapter, &packed, None, |engine, binding| {
            let batch = engine.batch(&packed, prefixes);
            let rows = cache_rows(&batch, prompts.len(), how.max_new_tokens);
            let layers = 0..config.num_hidden_layers;
            let mut cached = Cached {
                engine,
                binding: &binding,
                cache: layers
                    .map(|layer| {
                        let heads = config.heads_of(layer);
                        let keeps =
                            config.layers[layer].has_attention() && config.keys_of(layer).is_none();
                        LayerCache::new(if keeps { rows } else { 0 }, heads.kv * heads.width)
                    })
                    .collect(),
            };
            continued(config, prompts, &batch, how, watch, &mut cached)
        })?
    }
}

/// An engine with a cache.
struct Cached<'d, 'b> {
    engine: &'d mut Engine<'b>,
    binding: &'d Binding<'d>,
    cache: Vec<LayerCache>,
}

impl Decoder for Cached<'_, '_> {
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
