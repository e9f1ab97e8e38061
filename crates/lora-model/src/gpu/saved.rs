//! What each layer keeps of a pass until its backward pass.
use super::buffer::together;
use super::kinds::Kind;
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
    /// Queries, keys and values as attention takes them, (T, q + 2·kv), and its output before its gate, (T, q), where it has one.
    pub(super) heads: Option<Tensor>,
    pub(super) attended: Option<Tensor>,
    /// Logs of attention's sums, f32 (heads, T).
    pub(super) log_sums: Option<Tensor>,
    /// Queries, keys and values before the norms of their heads, (T, q + …).
    pub(super) raw: Option<Tensor>,
    pub(super) q_rstd: Option<Tensor>,
    pub(super) k_rstd: Option<Tensor>,
    pub(super) v_rstd: Option<Tensor>,
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
    /// The gate of the layer's own input, (T, P), and what is made of what that lets through before its norm, (T, H).
    pub(super) input_gate: Tensor,
    pub(super) input_output: Option<Tensor>,
    pub(super) input_output_rstd: Option<Tensor>,
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
        let heads = w.raw > 0;
        let q_rstd = heads.then(|| f32s(w.heads));
        let k_rstd = heads.then(|| f32s(w.kv_heads));
        let v_rstd = w.normalises_values.then(|| f32s(w.kv_heads));
        let outputs = w.normalises_outputs;
        let attention_output_rstd = outputs.then(|| f32s(1));
        let mlp_output_rstd = outputs.then(|| f32s(1));
        let has_input = w.own_input > 0;
        let input_output_rstd = has_input.then(|| f32s(1));
        let router = f32s(w.experts.experts);
        let rule_rstd = f32s(w.rules.norms);
        let mut acts = |values: usize| rest.piece(dtype, rows * values);
        Ok(Self {
            x,
            input_rstd,
            inputs: w.groups.map(&mut acts),
            z: w.scaled.map(&mut acts),
            qkv: acts(w.mixed),
            heads: w.gates.then(|| acts(w.apart())),
            attended: w.gates.then(|| acts(w.queries)),
            log_sums,
            raw: heads.then(|| acts(w.raw)),
            q_rstd,
            k_rstd,
            v_rstd,
            attention_output: outputs.then(|| acts(w.hidden)),
            attention_output_rstd,
            mlp_output: outputs.then(|| acts(w.hidden)),
            mlp_output_rstd,
            middle,
            middle_rstd,
            gate_up: acts(w.unit),
            input_gate: acts(w.own_input),
            input_output: has_input.then(|| acts(w.hidden)),
            input_output_rstd,
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
            when(w.raw > 0, w.heads),
            when(w.raw > 0, w.kv_heads),
            when(w.normalises_values, w.kv_heads),
            when(w.normalises_outputs, 1),
            when(w.normalises_outputs, 1),
            when(w.own_input > 0, 1),
            w.experts.experts,
            w.rules.norms,
        ];
        let acts = [
            w.mixed,
            w.apart(),
            when(w.gates, w.queries),
            w.raw,
            when(w.normalises_outputs, w.hidden),
            when(w.normalises_outputs, w.hidden),
            w.unit,
            w.own_input,
            when(w.own_input > 0, w.hidden),
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
