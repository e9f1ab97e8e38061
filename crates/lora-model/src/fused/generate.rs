//! Greedy generation with a KV cache, several prompts in lockstep.
use super::Fused;
use super::binding::Binding;
use super::cache::LayerCache;
use super::engine::Engine;
use crate::{Error, Packed};
use lora_core::Adapter;
use lora_kernels::attention::Segment;
use lora_kernels::vector::argmax;

/// One prompt on its way.
#[derive(Debug)]
struct Stream {
    /// Place of its region in the cache.
    slot: usize,
    /// The prompt and what was generated.
    ids: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens in the cache.
    seen: usize,
    done: bool,
}

/// How a generation ends.
#[derive(Debug, Clone, Copy)]
struct Limits<'s> {
    max_new_tokens: usize,
    stop: &'s [u32],
    capacity: usize,
}

impl Fused<'_> {
    /// Greedy continuation of a prompt until a stop id (not included) or `max_new_tokens`.
    ///
    /// # Errors
    /// As for [`Fused::generate`].
    pub fn greedy(
        &mut self,
        adapter: Option<&Adapter>,
        prompt: &[u32],
        max_new_tokens: usize,
        stop: &[u32],
    ) -> Result<Vec<u32>, Error> {
        Ok(self.generate(adapter, &[prompt], max_new_tokens, stop)?.pop().unwrap_or_default())
    }

    /// Greedy continuations of several prompts, computed together: weights are read once a step for all of them.
    /// Memory for the keys and values: prompts · (longest prompt + max_new_tokens) · kv_heads · d · layers · 8 bytes.
    ///
    /// # Errors
    /// If a prompt is empty or has an id outside the vocabulary, or the adapter does not fit the base.
    pub fn generate(
        &mut self,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        max_new_tokens: usize,
        stop: &[u32],
    ) -> Result<Vec<Vec<u32>>, Error> {
        if prompts.iter().any(|p| p.is_empty()) {
            return Err(Error::Invalid("a prompt to continue has no tokens".into()));
        }
        let labels = vec![crate::IGNORE; prompts.iter().map(|p| p.len()).max().unwrap_or(0)];
        let packed = Packed::from_rows(prompts.iter().map(|&p| (p, &labels[..p.len()])));
        let capacity = packed.longest() + max_new_tokens;
        self.run(adapter, &packed, None, |engine, binding| {
            engine.generate(&binding, &packed, Limits { max_new_tokens, stop, capacity })
        })
    }
}

impl Engine<'_> {
    fn generate(&mut self, binding: &Binding<'_>, packed: &Packed, limits: Limits<'_>) -> Vec<Vec<u32>> {
        let config = self.config;
        let width = config.num_key_value_heads * config.head_dim;
        let rows = packed.sequences() * limits.capacity;
        let mut cache: Vec<LayerCache> = (0..config.num_hidden_layers).map(|_| LayerCache::new(rows, width)).collect();
        let mut streams: Vec<Stream> = (0..packed.sequences())
            .map(|slot| {
                let ids = packed.input_ids[packed.starts[slot]..packed.starts[slot + 1]].to_vec();
                Stream { slot, prompt: ids.len(), ids, seen: 0, done: limits.max_new_tokens == 0 }
            })
            .collect();
        while streams.iter().any(|s| !s.done) {
            let next = self.advance(binding, &mut streams, &mut cache, limits.capacity);
            for (stream, id) in streams.iter_mut().filter(|s| !s.done).zip(next) {
                stream.take(id, limits);
            }
        }
        streams.into_iter().map(|mut s| s.ids.split_off(s.prompt)).collect()
    }

    /// Feeds each open stream the tokens that the cache does not hold and returns the most likely token after them.
    fn advance(
        &mut self,
        binding: &Binding<'_>,
        streams: &mut [Stream],
        cache: &mut [LayerCache],
        capacity: usize,
    ) -> Vec<u32> {
        let (mut ids, mut segments, mut positions, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut query_start = 0;
        for stream in streams.iter_mut().filter(|s| !s.done) {
            // Where the rotation depends on the length, keys rotated for a shorter text are of no use.
            let length = stream.ids.len();
            if self.config.ropes.iter().any(|r| r.variant(length) != r.variant(stream.seen)) {
                stream.seen = 0;
            }
            let queries = length - stream.seen;
            ids.extend_from_slice(&stream.ids[stream.seen..]);
            segments.push(Segment { query_start, queries, key_start: stream.slot * capacity, past: stream.seen });
            positions.extend((stream.seen..stream.seen + queries).map(|p| p as u32));
            stream.seen += queries;
            query_start += queries;
            last.push(query_start - 1);
        }
        self.forward(binding.clone(), &ids, positions, segments, Some(cache));
        let logits = self.logits_of(binding, &last);
        logits.chunks_exact(self.config.vocab_size).map(|row| argmax(row) as u32).collect()
    }
}

impl Stream {
    fn take(&mut self, id: u32, limits: Limits<'_>) {
        if limits.stop.contains(&id) {
            self.done = true;
            return;
        }
        self.ids.push(id);
        self.done = self.ids.len() - self.prompt == limits.max_new_tokens;
    }
}
