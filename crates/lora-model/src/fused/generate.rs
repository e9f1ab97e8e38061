//! Greedy generation with a KV cache, several prompts in lockstep.
use super::Fused;
use super::batch::{Batch, Prefixes};
use super::binding::Binding;
use super::cache::LayerCache;
use super::engine::{Around, Engine};
use super::rows::Wanted;
use crate::{Error, Packed};
use lora_checkpoint::Rope;
use lora_core::Adapter;
use lora_kernels::layout::Span;
use lora_kernels::vector::argmax;

/// One prompt on its way.
#[derive(Debug)]
struct Stream<'p> {
    prompt: &'p [u32],
    /// Rows of the prompt in the cache.
    spans: &'p [Span],
    /// First row of what is generated in the cache.
    region: usize,
    generated: Vec<u32>,
    done: bool,
}

/// How a generation ends.
#[derive(Debug, Clone, Copy)]
struct Limits<'s> {
    max_new_tokens: usize,
    stop: &'s [u32],
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
        Ok(self
            .generate(adapter, &[prompt], max_new_tokens, stop)?
            .pop()
            .unwrap_or_default())
    }

    /// Greedy continuations of several prompts, computed together: weights are read once a step for all of them, and
    /// tokens that prompts begin with are computed and kept once. Memory for the keys and values: (tokens of the prompts +
    /// prompts · max_new_tokens) · kv_heads · d · layers · 8 bytes.
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
            return Err(Error::invalid("a prompt to continue has no tokens"));
        }
        let labels = vec![crate::IGNORE; prompts.iter().map(|p| p.len()).max().unwrap_or(0)];
        let packed = Packed::from_rows(prompts.iter().map(|&p| (p, &labels[..p.len()])));
        let config = self.base.config();
        // Where the rotation changes as the text grows, a prompt's keys are made anew on the way, so that they are its own.
        let grows = |rope: &Rope, n: usize| rope.variant(n) != rope.variant(n + max_new_tokens);
        let any_grows = prompts
            .iter()
            .any(|p| config.ropes.iter().any(|r| grows(r, p.len())));
        let prefixes = if any_grows {
            Prefixes::Separate
        } else {
            self.prefixes(None)
        };
        let limits = Limits {
            max_new_tokens,
            stop,
        };
        self.run(adapter, &packed, None, |engine, binding| {
            let batch = engine.batch(&packed, prefixes);
            engine.generate(&binding, prompts, &batch, limits)
        })
    }
}

impl Engine<'_> {
    fn generate(
        &mut self,
        binding: &Binding<'_>,
        prompts: &[&[u32]],
        batch: &Batch,
        limits: Limits<'_>,
    ) -> Vec<Vec<u32>> {
        let config = self.config;
        let width = config.num_key_value_heads * config.head_dim;
        let rows = batch.tokens() + prompts.len() * limits.max_new_tokens;
        let mut cache: Vec<LayerCache> = (0..config.num_hidden_layers)
            .map(|_| LayerCache::new(rows, width))
            .collect();
        let prompts = prompts.iter().zip(&batch.spans).enumerate();
        let mut streams: Vec<Stream<'_>> = prompts
            .map(|(index, (&prompt, spans))| Stream {
                prompt,
                spans,
                region: batch.tokens() + index * limits.max_new_tokens,
                generated: Vec::new(),
                done: limits.max_new_tokens == 0,
            })
            .collect();
        let open = streams.iter().filter(|s| !s.done);
        let last = open.map(Stream::last_row).collect();
        let Wanted { rows, places } = Wanted::of(last, batch.tokens());
        let around = Around {
            cache: Some(&mut cache),
            wanted: rows.as_deref(),
        };
        self.forward(binding, batch, around);
        let mut rows = places;
        while streams.iter().any(|s| !s.done) {
            self.take(binding, &mut streams, rows, limits);
            rows = self.advance(binding, &streams, &mut cache);
        }
        streams.into_iter().map(|s| s.generated).collect()
    }

    /// Feeds each open stream what the cache does not hold; returns the rows of the streams' last tokens.
    fn advance(
        &mut self,
        binding: &Binding<'_>,
        streams: &[Stream<'_>],
        cache: &mut [LayerCache],
    ) -> Vec<usize> {
        let ropes = &self.config.ropes;
        let mut batch = Batch::default();
        let mut rows = Vec::new();
        for stream in streams.iter().filter(|s| !s.done) {
            // Where the rotation depends on the length, keys rotated for a shorter text are of no use.
            let length = stream.tokens();
            let stale = ropes
                .iter()
                .any(|r| r.variant(length) != r.variant(length - 1));
            if stale {
                stream.feed(stream.prompt, 0, stream.spans.iter().copied(), &mut batch);
            }
            let from = if stale { 0 } else { stream.generated.len() - 1 };
            let own = Span {
                start: stream.region,
                len: stream.generated.len(),
            };
            let spans = stream.spans.iter().copied().chain([own]);
            let first = stream.prompt.len() + from;
            stream.feed(&stream.generated[from..], first, spans, &mut batch);
            rows.push(batch.tokens() - 1);
        }
        if batch.tokens() > 0 {
            let around = Around {
                cache: Some(cache),
                wanted: None,
            };
            self.forward(binding, &batch, around);
        }
        rows
    }

    /// Gives each open stream the most likely token after its row of the hidden state.
    fn take(
        &mut self,
        binding: &Binding<'_>,
        streams: &mut [Stream<'_>],
        rows: Vec<usize>,
        limits: Limits<'_>,
    ) {
        let logits = self.logits_of(binding, &rows);
        let open = streams.iter_mut().filter(|s| !s.done);
        for (stream, row) in open.zip(logits.chunks_exact(self.config.vocab_size)) {
            stream.take(argmax(row) as u32, limits);
        }
    }
}

impl Stream<'_> {
    fn tokens(&self) -> usize {
        self.prompt.len() + self.generated.len()
    }

    /// The row of the prompt's last token.
    fn last_row(&self) -> usize {
        let last = self.spans.last();
        last.map_or(0, |span| span.start + span.len - 1)
    }

    /// Adds new tokens, the first at position `first`, as a segment that sees `spans` of the cache.
    fn feed(
        &self,
        new: &[u32],
        first: usize,
        spans: impl Iterator<Item = Span>,
        batch: &mut Batch,
    ) {
        batch.layout.push(batch.ids.len(), new.len(), spans);
        batch.lengths.push(self.tokens());
        let positions = first..first + new.len();
        batch.positions.extend(positions.map(|p| p as u32));
        batch.ids.extend_from_slice(new);
    }

    fn take(&mut self, id: u32, limits: Limits<'_>) {
        if limits.stop.contains(&id) {
            self.done = true;
            return;
        }
        self.generated.push(id);
        self.done = self.generated.len() == limits.max_new_tokens;
    }
}
