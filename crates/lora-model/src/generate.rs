//! Generation with a KV cache, several prompts in lockstep: which tokens a decoder is fed, and what it is asked.
use crate::fused::batch::{Batch, Prefixes};
use crate::sampling::Sampling;
use crate::{Error, Packed, Route};
use lora_checkpoint::ModelConfig;
use lora_core::Adapter;
use lora_kernels::layout::Span;
use lora_random::Generator;
use std::ops::ControlFlow;

/// How texts go on.
#[derive(Debug, Clone, Copy)]
pub struct Decoding<'d> {
    /// Longest continuation.
    pub max_new_tokens: usize,
    /// Ids that end one; they are no part of it.
    pub stop: &'d [u32],
    /// How a token is chosen.
    pub sampling: Sampling,
    /// The chance of each prompt, as many as prompts ([`Sampling::stream`]); none are needed where nothing is drawn.
    pub streams: &'d [Generator],
}

impl<'d> Decoding<'d> {
    /// The most probable token each time.
    pub fn greedy(max_new_tokens: usize, stop: &'d [u32]) -> Self {
        Self {
            max_new_tokens,
            stop,
            sampling: Sampling::GREEDY,
            streams: &[],
        }
    }
}

/// Sees each new token: the number of its prompt, and what the prompt's continuation is so far. To break ends that prompt's
/// continuation there.
pub type Watch<'w> = dyn FnMut(usize, &[u32]) -> ControlFlow<()> + Send + 'w;

/// A way through the decoder that can go on with a text.
pub trait Generate: Route {
    /// Continuations of several prompts, computed together, until a stop id (not included), `max_new_tokens`, or until
    /// `watch` breaks: weights are read once a step for all of them, and tokens that prompts begin with are computed and
    /// kept once. Memory for the keys and values: (tokens of the prompts + prompts · max_new_tokens) · 2 · kv_heads · d ·
    /// layers values.
    ///
    /// # Errors
    /// If a prompt is empty or has an id outside the vocabulary, if the adapter does not fit the base, or if draws are asked
    /// for without a stream for each prompt.
    fn decode(
        &mut self,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        how: &Decoding<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Vec<u32>>, Error>;

    /// Greedy continuations of several prompts.
    ///
    /// # Errors
    /// As for [`Generate::decode`].
    fn generate(
        &mut self,
        adapter: Option<&Adapter>,
        prompts: &[&[u32]],
        max_new_tokens: usize,
        stop: &[u32],
    ) -> Result<Vec<Vec<u32>>, Error> {
        let how = Decoding::greedy(max_new_tokens, stop);
        self.decode(
            adapter,
            prompts,
            &how,
            &mut |_, _| ControlFlow::Continue(()),
        )
    }

    /// Greedy continuation of one prompt.
    ///
    /// # Errors
    /// As for [`Generate::decode`].
    fn greedy(
        &mut self,
        adapter: Option<&Adapter>,
        prompt: &[u32],
        max_new_tokens: usize,
        stop: &[u32],
    ) -> Result<Vec<u32>, Error> {
        let mut all = self.generate(adapter, &[prompt], max_new_tokens, stop)?;
        Ok(all.pop().unwrap_or_default())
    }
}

/// A decoder with a cache of keys and values.
pub(crate) trait Decoder {
    /// Computes a batch, whose keys and values go to the rows of the cache that its segments see last, and gives the logits of
    /// some of its rows, (rows, V).
    fn decode(&mut self, batch: &Batch, rows: Vec<usize>) -> Result<Vec<f32>, Error>;
}

/// Prompts end to end, and whether they may share their beginnings: where the rotation changes as the text grows, a prompt's
/// keys are made anew on the way, so that they are its own.
pub(crate) fn packed(
    config: &ModelConfig,
    prompts: &[&[u32]],
    max_new_tokens: usize,
) -> Result<(Packed, Prefixes), Error> {
    if prompts.iter().any(|p| p.is_empty()) {
        return Err(Error::invalid("a prompt to continue has no tokens"));
    }
    let longest = prompts.iter().map(|p| p.len()).max().unwrap_or(0);
    let labels = vec![crate::IGNORE; longest];
    let packed = Packed::from_rows(prompts.iter().map(|&p| (p, &labels[..p.len()])));
    let grows = |n: usize| {
        let mut ropes = config.ropes.iter();
        ropes.any(|rope| rope.variant(n) != rope.variant(n + max_new_tokens))
    };
    let changes = prompts.iter().any(|p| grows(p.len()));
    Ok((packed, Prefixes::of(config, !changes)))
}

/// Rows of the cache that a generation takes: the prompts' rows, then a region for what follows each.
pub(crate) fn cache_rows(batch: &Batch, prompts: usize, max_new_tokens: usize) -> usize {
    batch.tokens() + prompts * max_new_tokens
}

/// Continues prompts, whose rows are `batch`.
pub(crate) fn continued(
    config: &ModelConfig,
    prompts: &[&[u32]],
    batch: &Batch,
    how: &Decoding<'_>,
    watch: &mut Watch<'_>,
    decoder: &mut dyn Decoder,
) -> Result<Vec<Vec<u32>>, Error> {
    if !how.sampling.is_greedy() && how.streams.len() != prompts.len() {
        return Err(Error::invalid(
            "draws need a stream of chance for each prompt",
        ));
    }
    let prompts = prompts.iter().zip(&batch.spans).enumerate();
    let mut streams: Vec<Stream<'_>> = prompts
        .map(|(index, (&prompt, spans))| Stream {
            prompt,
            spans,
            number: index,
            region: batch.tokens() + index * how.max_new_tokens,
            chance: how.streams.get(index).cloned(),
            generated: Vec::new(),
            done: how.max_new_tokens == 0,
        })
        .collect();
    let open = streams.iter().filter(|s| !s.done);
    let last: Vec<usize> = open.map(Stream::last_row).collect();
    if last.is_empty() {
        return Ok(streams.into_iter().map(|s| s.generated).collect());
    }
    let mut logits = decoder.decode(batch, last)?;
    loop {
        let open = streams.iter_mut().filter(|s| !s.done);
        for (stream, row) in open.zip(logits.chunks_exact(config.vocab_size)) {
            stream.take(row, how, watch)?;
        }
        let (next, rows) = fed(config, &streams);
        if rows.is_empty() {
            return Ok(streams.into_iter().map(|s| s.generated).collect());
        }
        logits = decoder.decode(&next, rows)?;
    }
}

/// What the cache does not hold of each open stream, and the rows of the streams' last tokens.
fn fed(config: &ModelConfig, streams: &[Stream<'_>]) -> (Batch, Vec<usize>) {
    let mut batch = Batch::default();
    let mut rows = Vec::new();
    for stream in streams.iter().filter(|s| !s.done) {
        // Where the rotation depends on the length, keys rotated for a shorter text are of no use.
        let length = stream.tokens();
        let mut ropes = config.ropes.iter();
        let stale = ropes.any(|r| r.variant(length) != r.variant(length - 1));
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
    (batch, rows)
}

/// One prompt on its way.
#[derive(Debug)]
struct Stream<'p> {
    prompt: &'p [u32],
    /// Its number among the prompts.
    number: usize,
    /// Rows of the prompt in the cache.
    spans: &'p [Span],
    /// First row of what is generated in the cache.
    region: usize,
    chance: Option<Generator>,
    generated: Vec<u32>,
    done: bool,
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

    fn take(
        &mut self,
        logits: &[f32],
        how: &Decoding<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), Error> {
        if logits.iter().any(|x| x.is_nan()) {
            return Err(Error::invalid("the model's logits are not numbers (NaN)").hint(
                "base or adapter hold values that are not finite: lora-export --model BASE --out x.gguf names a base's tensor",
            ));
        }
        let text = [self.prompt, &self.generated];
        let id = how.sampling.choose(logits, text, self.chance.as_mut());
        if how.stop.contains(&id) {
            self.done = true;
            return Ok(());
        }
        self.generated.push(id);
        let is_over = watch(self.number, &self.generated).is_break();
        self.done = is_over || self.generated.len() == how.max_new_tokens;
        Ok(())
    }
}
