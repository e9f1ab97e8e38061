//! Generation on the device: keys and values, and states, are kept there.
use super::OnGpu;
use super::engine::Engine;
use super::factors::OnDevice;
use super::pass::{Cache, Pass};
use super::sequences::Texts;
use super::states::Kept;
use crate::Error;
use crate::fused::batch::{Batch, Prefixes};
use crate::generate::{Decoder, Decoding, Generate, Watch, cache_rows, continued, packed};
use lora_core::Adapter;
use lora_gpu::Tensor;

impl Generate for OnGpu<'_> {
    fn decode(
        &mut self,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        how: &Decoding<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Vec<u32>>, Error> {
        let config = self.engine.config;
        let (packed, prefixes) = packed(config, prompts, how.max_new_tokens)?;
        let prefixes = if self.share_prefixes {
            prefixes
        } else {
            Prefixes::Separate
        };
        let binding = self.binding(adapter, &packed, None)?;
        let batch = self.laid_out(&packed, prefixes);
        let rows = cache_rows(&batch, prompts.len(), how.max_new_tokens);
        let on_device = self.engine.adopt(&binding)?;
        let gpu = &self.engine.gpu;
        let layers = 0..config.num_hidden_layers;
        let cache = layers.clone().map(|layer| {
            let attends = config.layers[layer].has_attention();
            let keeps = attends && config.keys_of(layer).is_none();
            let heads = config.heads_of(layer);
            let values = 2 * rows * heads.kv * heads.width;
            gpu.activations(if keeps { values } else { 0 })
        });
        let kept = layers.map(|layer| Kept::new(gpu, config, layer, prompts.len()));
        let mut cached = Cached {
            cache: cache.collect::<Result<_, _>>()?,
            kept: kept.collect::<Result<_, _>>()?,
            texts: Texts::default(),
            rows,
            engine: &mut self.engine,
            on_device: &on_device,
        };
        let found = continued(config, prompts, &batch, how, watch, &mut cached);
        self.engine.give_back(on_device);
        found
    }
}

/// An engine with a cache.
struct Cached<'d, 'b> {
    engine: &'d mut Engine<'b>,
    on_device: &'d OnDevice,
    /// Keys and values of each layer that has its own, (rows, 2·kv).
    cache: Vec<Tensor>,
    /// What each layer keeps of the texts.
    kept: Vec<Kept>,
    texts: Texts,
    rows: usize,
}

impl Decoder for Cached<'_, '_> {
    fn decode(&mut self, batch: &Batch, rows: Vec<usize>) -> Result<Vec<f32>, Error> {
        let engine = &mut *self.engine;
        let gpu = engine.gpu.clone();
        let kept = (&self.kept[..], self.texts.of(&batch.layout));
        let cache = Cache::of(&gpu, (&self.cache, self.rows), kept, batch)?;
        let tables = engine.rotations(batch)?;
        let config = engine.config;
        let pass = Pass::new(&gpu, config, self.on_device, batch, tables, Some(cache))?;
        let x = engine.forward(&pass)?;
        let rows: Vec<u32> = rows.into_iter().map(|row| row as u32).collect();
        Ok(engine.logits_of(&x, batch.tokens(), &rows)?)
    }
}
