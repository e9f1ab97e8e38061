//! Memory of a pass on the device: what each layer keeps until its backward pass, and what all share.
use super::buffer::{Buffer, InTurn, together};
use super::expert_scratch::ExpertScratch;
use super::group::Kind;
use super::widths::Widths;
use lora_gpu::{Dtype, Error, Gpu, Tensor};

/// What the backward pass of one layer needs of its forward pass; T rows each.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    /// Input of the layer, f32 (T, H).
    pub(super) x: Tensor,
    pub(super) input_rstd: Tensor,
    /// Inputs of the groups with u behind them, by [`Kind`], (T, in + columns).
    pub(super) inputs: [Tensor; Kind::ALL.len()],
    /// What DoRA's magnitudes scale of the groups' outputs, by [`Kind`], (T, out).
    pub(super) z: [Tensor; Kind::ALL.len()],
    /// What mixers read: queries, keys (rotated) and values, (T, q + 2·kv), or what stands in their place.
    pub(super) qkv: Tensor,
    /// Logs of attention's sums, f32 (heads, T).
    pub(super) log_sums: Option<Tensor>,
    /// Queries and keys before the norm of their heads, (T, q + kv).
    pub(super) raw: Option<Tensor>,
    pub(super) q_rstd: Option<Tensor>,
    pub(super) k_rstd: Option<Tensor>,
    /// Output of attention and of the MLP before their norms, (T, H).
    pub(super) attention_output: Option<Tensor>,
    pub(super) attention_output_rstd: Option<Tensor>,
    pub(super) mlp_output: Option<Tensor>,
    pub(super) mlp_output_rstd: Option<Tensor>,
    /// Hidden state between attention and MLP, f32 (T, H).
    pub(super) middle: Tensor,
    pub(super) middle_rstd: Tensor,
    /// What the MLP's unit reads: gate and up, (T, 2·I), or up alone.
    pub(super) gate_up: Tensor,
    /// What a rule gives, (T, values), and 1/rms of it, f32 (T, norms).
    pub(super) rule: Tensor,
    pub(super) rule_rstd: Tensor,
    /// Logits of a mixture's router, f32 (T, E).
    pub(super) router: Tensor,
    /// What gates and ups of the chosen experts give, (T·k, 2·I).
    pub(super) expert_gate_up: Tensor,
}

impl Saved {
    /// The input of a group.
    pub(super) fn input(&self, kind: Kind) -> &Tensor {
        &self.inputs[kind as usize]
    }

    /// Memory for `rows` rows, in one piece: a card rounds every allocation up.
    pub(super) fn alloc(gpu: &Gpu, w: Widths, rows: usize) -> Result<Self, Error> {
        let dtype = gpu.dtype();
        let mut rest = Rest {
            memory: gpu.alloc(Dtype::U8, Self::bytes(w, rows, dtype))?,
            first: 0,
        };
        let mut f32s = |values: usize| rest.piece(Dtype::F32, rows * values);
        let (x, input_rstd) = (f32s(w.hidden), f32s(1));
        let (middle, middle_rstd) = (f32s(w.hidden), f32s(1));
        let log_sums = w.attends.then(|| f32s(w.heads));
        let heads = w.normalises_heads;
        let q_rstd = heads.then(|| f32s(w.heads));
        let k_rstd = heads.then(|| f32s(w.kv_heads));
        let outputs = w.normalises_outputs;
        let attention_output_rstd = outputs.then(|| f32s(1));
        let mlp_output_rstd = outputs.then(|| f32s(1));
        let router = f32s(w.experts.experts);
        let rule_rstd = f32s(w.rules.norms);
        let mut acts = |values: usize| rest.piece(dtype, rows * values);
        Ok(Self {
            x,
            input_rstd,
            inputs: w.groups.map(&mut acts),
            z: w.scaled.map(&mut acts),
            qkv: acts(w.mixed),
            log_sums,
            raw: heads.then(|| acts(w.queries + w.keys)),
            q_rstd,
            k_rstd,
            attention_output: outputs.then(|| acts(w.hidden)),
            attention_output_rstd,
            mlp_output: outputs.then(|| acts(w.hidden)),
            mlp_output_rstd,
            middle,
            middle_rstd,
            gate_up: acts(w.unit),
            router,
            expert_gate_up: acts(w.experts.gate_up()),
            rule: acts(w.rules.values),
            rule_rstd,
        })
    }

    /// Bytes for `rows` rows.
    pub(super) fn bytes(w: Widths, rows: usize, activations: Dtype) -> usize {
        let when = |is: bool, values: usize| if is { values } else { 0 };
        let f32s = [
            w.hidden,
            1,
            w.hidden,
            1,
            when(w.attends, w.heads),
            when(w.normalises_heads, w.heads),
            when(w.normalises_heads, w.kv_heads),
            when(w.normalises_outputs, 1),
            when(w.normalises_outputs, 1),
            w.experts.experts,
            w.rules.norms,
        ];
        let acts = [
            w.mixed,
            when(w.normalises_heads, w.queries + w.keys),
            when(w.normalises_outputs, w.hidden),
            when(w.normalises_outputs, w.hidden),
            w.unit,
            w.experts.gate_up(),
            w.rules.values,
        ];
        let f32s = f32s.map(|values| (Dtype::F32, rows * values));
        let acts = acts.map(|values| (activations, rows * values));
        let of_groups = |values| (activations, rows * values);
        let (inputs, z) = (w.groups.map(of_groups), w.scaled.map(of_groups));
        together(&f32s) + together(&acts) + together(&inputs) + together(&z)
    }
}

/// Memory of which pieces are taken.
struct Rest {
    memory: Tensor,
    first: usize,
}

impl Rest {
    fn piece(&mut self, dtype: Dtype, len: usize) -> Tensor {
        let piece = self.memory.part(self.first, dtype, len);
        self.first += together(&[(dtype, len)]);
        piece
    }
}

/// Memory that all layers share.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Weights of a group, widened.
    pub(super) wide: Tensor,
    /// Gradient of a group's input and of u behind it.
    pub(super) d_input: Tensor,
    /// Gradients of a group's outputs: of what mixers read, or of what the MLP's unit reads.
    pub(super) d_outputs: Tensor,
    /// The same times DoRA's gains.
    pub(super) d_scaled: Tensor,
    /// Gradient of the hidden state in the activations' type, (T, H).
    pub(super) d_hidden: Tensor,
    /// Gradients of queries and keys before the norm of their heads.
    pub(super) d_heads: Option<Tensor>,
    /// A group's input after dropout, and the gradient of it.
    pub(super) dropped: Tensor,
    pub(super) d_dropped: Tensor,
    /// Keys and values of every query head, (T, 2·q).
    pub(super) repeated: Tensor,
    /// Gradients of these, f32.
    pub(super) d_kv: Tensor,
    /// Σ p·d_p of each query, f32 (heads, T).
    pub(super) means: Tensor,
    /// Those of a segment, gathered, and their gradients, f32.
    pub(super) kv: Tensor,
    pub(super) d_gathered: Tensor,
    /// Scores of some queries, all heads, and their gradient, f32.
    pub(super) scores: Tensor,
    pub(super) d_scores: Tensor,
    /// Probabilities, and the gradient of the scores.
    pub(super) p: Tensor,
    pub(super) d_s: Tensor,
    /// What the convolution before a rule gives, its gradient, and what the rule works in.
    pub(super) convolved: Tensor,
    pub(super) d_convolved: Tensor,
    pub(super) rule: Tensor,
    /// Of mixtures of experts.
    pub(super) experts: ExpertScratch,
}

/// Grows with the largest batch.
#[derive(Debug)]
pub(super) struct Buffers {
    d_hidden: Buffer,
    d_heads: Buffer,
    dropped: Buffer,
    d_dropped: Buffer,
    repeated: Buffer,
    means: Buffer,
    kv: Buffer,
    d_gathered: Buffer,
    scores: Buffer,
    d_scores: Buffer,
    p: Buffer,
    d_s: Buffer,
}

/// What a pass asks of the scratch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) widths: Widths,
    pub(super) rows: usize,
    /// Chunks of sequences.
    pub(super) chunks: usize,
    /// The most keys that a segment gathers; 0 if none does.
    pub(super) gathered: usize,
    /// Values of the scores of one block of queries.
    pub(super) scores: usize,
    /// Values of the widest matrix that is widened.
    pub(super) widened: usize,
    pub(super) drops: bool,
    pub(super) trains: bool,
    /// Attention needs its scores in memory.
    pub(super) by_scores: bool,
}

impl Buffers {
    pub(super) fn new(gpu: &Gpu) -> Self {
        let act = || Buffer::new(gpu.dtype());
        let f32s = || Buffer::new(Dtype::F32);
        Self {
            d_hidden: act(),
            d_heads: act(),
            dropped: act(),
            d_dropped: act(),
            repeated: act(),
            means: f32s(),
            kv: act(),
            d_gathered: f32s(),
            scores: f32s(),
            d_scores: f32s(),
            p: act(),
            d_s: act(),
        }
    }

    pub(super) fn get(
        &mut self,
        gpu: &Gpu,
        asked: Asked,
        in_turn: &mut InTurn,
    ) -> Result<Scratch, Error> {
        let Asked {
            widths: w, rows, ..
        } = asked;
        let back = if asked.trains { rows } else { 0 };
        let pieces = w.of_layers((rows, back, asked.chunks), asked.widened, gpu.dtype());
        let [
            wide,
            d_input,
            d_outputs,
            d_scaled,
            d_kv,
            convolved,
            d_convolved,
            rule,
            experts @ ..,
        ] = in_turn.get(gpu, pieces)?;
        let dropped = if asked.drops { rows * w.widest() } else { 0 };
        let heads = w.normalises_heads;
        let d_heads = back * (w.queries + w.keys);
        let by_scores = |values: usize| if asked.by_scores { values } else { 0 };
        let gathered = by_scores(2 * w.queries * asked.gathered);
        let d_gathered = if asked.trains { gathered } else { 0 };
        let scores = by_scores(asked.scores);
        let d_scores = if asked.trains { scores } else { 0 };
        let means = if asked.by_scores { 0 } else { back * w.heads };
        Ok(Scratch {
            wide,
            d_input,
            d_outputs,
            d_scaled,
            d_hidden: self.d_hidden.get(gpu, rows * w.hidden)?,
            d_heads: match heads {
                true => Some(self.d_heads.get(gpu, d_heads)?),
                false => None,
            },
            dropped: self.dropped.get(gpu, dropped)?,
            d_dropped: self.d_dropped.get(gpu, dropped)?,
            repeated: self.repeated.get(gpu, by_scores(rows * 2 * w.queries))?,
            d_kv,
            means: self.means.get(gpu, means)?,
            kv: self.kv.get(gpu, gathered)?,
            d_gathered: self.d_gathered.get(gpu, d_gathered)?,
            scores: self.scores.get(gpu, scores)?,
            d_scores: self.d_scores.get(gpu, d_scores)?,
            p: self.p.get(gpu, scores)?,
            d_s: self.d_s.get(gpu, d_scores)?,
            convolved,
            d_convolved,
            rule,
            experts: experts.into(),
        })
    }
}
