//! How much memory the fused route takes, from shapes alone: every buffer that it holds after a training step.
use super::batch::Batch;
use super::keep::Plan;
use crate::Packed;
use crate::spec::HEAD;
use lora_checkpoint::{ModelConfig, Norm, Projection};
use lora_core::TargetedModule;
use lora_kernels::layout::Layout;
use lora_kernels::{attention, gemm, linear, loss};

/// A micro-batch as memory sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSize {
    /// Tokens, T.
    pub tokens: usize,
    /// Tokens of its longest sequence.
    pub longest: usize,
    /// Supervised tokens, n.
    pub supervised: usize,
    /// Values of the gradients of keys and values that attention's backward pass holds apart: few, unless many sequences
    /// share a long beginning.
    pub attention: usize,
}

impl BatchSize {
    /// Of a pack, with common beginnings computed once if `share`.
    #[must_use]
    pub fn of(config: &ModelConfig, packed: &Packed, share: bool) -> Self {
        let variants = |length| {
            let ropes = config.ropes.iter();
            ropes.map(|rope| rope.variant(length)).collect::<Vec<_>>()
        };
        let batch = Batch::of(packed, share, variants);
        Self {
            tokens: batch.tokens(),
            longest: packed.longest(),
            supervised: packed.supervised(),
            attention: held_apart(config, &batch.layout),
        }
    }

    /// Of sequences of these lengths, of which nothing is shared.
    #[must_use]
    pub fn alone(config: &ModelConfig, lengths: &[usize], supervised: usize) -> Self {
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + length);
        }
        Self {
            tokens: starts[lengths.len()],
            longest: lengths.iter().copied().max().unwrap_or(0),
            supervised,
            attention: held_apart(config, &Layout::packed(&starts)),
        }
    }

    /// The most of both, part by part.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            longest: self.longest.max(other.longest),
            supervised: self.supervised.max(other.supervised),
            attention: self.attention.max(other.attention),
        }
    }
}

/// The most that attention's workspace holds in any layer.
fn held_apart(config: &ModelConfig, layout: &Layout) -> usize {
    let mut windows: Vec<_> = config.layers.iter().map(|layer| layer.window).collect();
    windows.sort_unstable();
    windows.dedup();
    let shapes = windows.into_iter().map(|window| shape(config, window));
    shapes
        .map(|shape| attention::workspace_len(shape, layout))
        .max()
        .unwrap_or(0)
}

/// Attention of a layer with this window, as far as memory is concerned.
fn shape(config: &ModelConfig, window: Option<usize>) -> attention::Shape {
    attention::Shape {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        head_dim: config.head_dim,
        scale: 1.0,
        window,
        softcap: None,
    }
}

/// Bytes that the route holds beside the weights, which stay where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Activations of one layer: of the one at work, and of each that keeps them all. (The last layer computes less, but an
    /// evaluation between the steps does not.)
    pub all: usize,
    /// Activations of a layer that keeps them in bfloat16.
    pub half: usize,
    /// What a layer keeps that is computed again.
    pub input: usize,
    /// Layers below the last one that need a gradient.
    pub layers: usize,
    /// Scratch that all layers share, the hidden state and its gradient.
    pub scratch: usize,
    /// Output head and loss.
    pub head: usize,
    /// Norms and biases, widened to f32.
    pub vectors: usize,
    /// What each thread holds beside all that.
    pub per_thread: usize,
}

impl Footprint {
    /// What the layers keep under a plan, with the layer at work.
    #[must_use]
    pub fn activations(&self, plan: Plan) -> usize {
        let exact = plan.exact.min(self.layers);
        let rounded = plan.rounded.min(self.layers - exact);
        self.all
            + exact * self.all
            + rounded * self.half
            + (self.layers - exact - rounded) * self.input
    }

    /// All of it under a plan.
    #[must_use]
    pub fn total(&self, plan: Plan) -> usize {
        self.activations(plan) + self.scratch + self.head + self.vectors
    }

    /// The plan that computes least again within so many bytes; none if even the leanest takes more. Only if `may_round`
    /// do layers keep their activations in bfloat16, and then only as many as that saves from being computed again.
    #[must_use]
    pub fn plan(&self, bytes: usize, may_round: bool) -> Option<Plan> {
        let rest = bytes.checked_sub(self.total(Plan::LEANEST))?;
        let fitting = |rest: usize, each: usize| (rest / each.max(1)).min(self.layers);
        let exact = fitting(rest, self.all - self.input);
        if !may_round || exact == self.layers {
            return Some(Plan { exact, rounded: 0 });
        }
        let rounded = fitting(rest, self.half - self.input);
        if rounded < self.layers {
            return Some(Plan { exact: 0, rounded });
        }
        let exact = fitting(
            rest - self.layers * (self.half - self.input),
            self.all - self.half,
        );
        Some(Plan {
            exact,
            rounded: self.layers - exact,
        })
    }
}

const F32: usize = size_of::<f32>();
const BF16: usize = 2;

/// What a training step on such a micro-batch takes. `targeted` are the adapter's modules, `dropout` whether it drops
/// inputs.
#[must_use]
pub fn footprint(
    config: &ModelConfig,
    targeted: &[TargetedModule],
    dropout: bool,
    batch: BatchSize,
) -> Footprint {
    let t = batch.tokens;
    let (exact, rounded) = saved(config);
    let inner = inner(config, targeted);
    Footprint {
        all: F32 * t * (exact + rounded + inner),
        half: t * (F32 * exact + BF16 * (rounded + inner)),
        input: F32 * t * (config.hidden_size + down(config, targeted)),
        layers: config.num_hidden_layers
            - 1
            - lowest_layer(targeted).min(config.num_hidden_layers - 1),
        scratch: F32
            * (t * scratch(config, targeted, dropout)
                + workspace(config, targeted, dropout, t)
                + batch.attention),
        head: F32 * head(config, batch.supervised),
        vectors: F32 * vectors(config),
        per_thread: F32 * per_thread(config, targeted, batch),
    }
}

/// Values that a thread holds: blocks of attention, packed panels of weights, packed ranks, the slopes of capped logits.
fn per_thread(config: &ModelConfig, targeted: &[TargetedModule], batch: BatchSize) -> usize {
    let rank = targeted.iter().map(|module| module.rank).max().unwrap_or(0);
    let slopes = match config.logit_softcap {
        Some(_) => config.vocab_size,
        None => 0,
    };
    attention::scratch_len(shape(config, None), batch.longest)
        + gemm::scratch_len(rank)
        + batch.tokens * rank.next_multiple_of(PANEL)
        + slopes
}

/// Ranks that are packed side by side, at most.
const PANEL: usize = 32;

/// The lowest layer of these modules: nothing below it needs a gradient.
fn lowest_layer(targeted: &[TargetedModule]) -> usize {
    let layer = |path: &str| {
        path.strip_prefix("model.layers.")?
            .split('.')
            .next()?
            .parse()
            .ok()
    };
    targeted
        .iter()
        .map(|module| {
            if module.path == HEAD {
                usize::MAX
            } else {
                layer(&module.path).unwrap_or(0)
            }
        })
        .min()
        .unwrap_or(0)
}

fn width(config: &ModelConfig, projection: Projection) -> usize {
    config.shape(projection).0
}

fn has(config: &ModelConfig, norm: Norm) -> bool {
    config.facts().norm(norm).is_some()
}

/// Values a token in `Saved`, but for x·Aᵀ: those that are always kept exactly, and those that may be rounded.
fn saved(config: &ModelConfig) -> (usize, usize) {
    let (h, heads, kv_heads) = (
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
    );
    let [q, k, gate] = [Projection::Q, Projection::K, Projection::Gate].map(|p| width(config, p));
    let raw = |norm, values, heads| {
        if has(config, norm) {
            (heads, values)
        } else {
            (0, 0)
        }
    };
    let (q_rstd, q_raw) = raw(Norm::Query, q, heads);
    let (k_rstd, k_raw) = raw(Norm::Key, k, kv_heads);
    let outputs = [Norm::AttentionOutput, Norm::MlpOutput]
        .into_iter()
        .filter(|norm| has(config, *norm))
        .count();
    let exact = q + k + heads + 2 + q_rstd + k_rstd + outputs; // q, k, the log-sum-exp, and all 1/rms
    let rounded = 2 * h + q + k + 2 * gate + q_raw + k_raw + outputs * h; // x, middle; o; v; gate, up
    (exact, rounded)
}

/// Values a token that Down keeps for its own backward pass.
fn down(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    let of_layer = |layer: usize| {
        let path = Projection::Down.path(layer);
        targeted
            .iter()
            .filter(|module| module.path == path)
            .map(|m| m.rank + dora(m))
            .sum()
    };
    (0..config.num_hidden_layers)
        .map(of_layer)
        .max()
        .unwrap_or(0)
}

/// Values a token of x·Aᵀ, and with DoRA of the output before its gain, in the layer that has most of them.
fn inner(config: &ModelConfig, targeted: &[TargetedModule]) -> usize {
    let of_layer = |layer: usize| -> usize {
        let prefix = format!("model.layers.{layer}.");
        targeted
            .iter()
            .filter(|module| module.path.starts_with(&prefix))
            .map(|m| m.rank + dora(m))
            .sum()
    };
    (0..config.num_hidden_layers)
        .map(of_layer)
        .max()
        .unwrap_or(0)
}

/// Values a token in `Scratch`, and in the hidden state and its gradient.
fn scratch(config: &ModelConfig, targeted: &[TargetedModule], dropout: bool) -> usize {
    let h = config.hidden_size;
    let [q, k, gate] = [Projection::Q, Projection::K, Projection::Gate].map(|p| width(config, p));
    let state = 2 * h;
    let always = 2 * h + 2 * gate + 2 * q + 2 * k; // normed and its gradient; activated and its; gradients of o, q, k, v
    // The gradient before a norm of heads takes a buffer of its own, which then stands for that of the keys too.
    let head_norms = if has(config, Norm::Key) { 2 * q - k } else { 0 };
    let sandwich = if has(config, Norm::AttentionOutput) || has(config, Norm::MlpOutput) {
        h
    } else {
        0
    };
    let is_stacked = |p: &&Projection| p.parts().len() > 1;
    let stacked = config
        .projections()
        .iter()
        .filter(is_stacked)
        .map(|&p| width(config, p))
        .max()
        .unwrap_or(0);
    let rank = targeted.iter().map(|module| module.rank).max().unwrap_or(0);
    let dropped = if dropout {
        2 * targeted
            .iter()
            .map(|module| module.in_features)
            .max()
            .unwrap_or(0)
    } else {
        0
    };
    let gained = 2 * targeted.iter().map(dora).max().unwrap_or(0); // gain∘dy, and what it has beyond dy
    state + always + head_norms + sandwich + stacked + rank + dropped + gained
}

/// Outputs of a module with DoRA, 0 without.
fn dora(module: &TargetedModule) -> usize {
    if module.magnitude.is_some() {
        module.out_features
    } else {
        0
    }
}

/// Values of packed operands of the layers' linear modules.
fn workspace(
    config: &ModelConfig,
    targeted: &[TargetedModule],
    dropout: bool,
    tokens: usize,
) -> usize {
    let wide = |&p: &Projection| {
        let (out, inn) = config.shape(p);
        linear::packed_len(tokens, inn, out)
    };
    let narrow = |m: &TargetedModule| {
        linear::packed_len(tokens, m.rank, if dropout { m.in_features } else { 0 })
    };
    let beside = targeted.iter().filter(|module| module.magnitude.is_none()); // DoRA's products are apart
    config.projections().iter().map(wide).max().unwrap_or(0) + beside.map(narrow).max().unwrap_or(0)
}

/// Values of head and loss: the supervised rows three times, their 1/rms, a chunk of logits, packed operands.
fn head(config: &ModelConfig, supervised: usize) -> usize {
    let (v, h, rows) = (
        config.vocab_size,
        config.hidden_size,
        supervised.min(loss::chunk_rows(config.vocab_size)),
    );
    supervised * (3 * h + 1) + rows * v + linear::packed_len(rows, h, v)
}

fn vectors(config: &ModelConfig) -> usize {
    config
        .weights()
        .iter()
        .filter(|(_, shape)| shape.len() == 1)
        .map(|(_, shape)| shape[0])
        .sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fused::buffers::{Buffer, Kept, ProjectScratch, Saved, Scratch};
    use crate::{Base, Fused, Route};
    use lora_core::{Adapter, LoraConfig, TargetModules};
    use std::path::Path;

    fn sum(buffers: &[&Buffer]) -> usize {
        buffers.iter().map(|buffer| buffer.len()).sum()
    }

    /// Every buffer by name: a new one must be counted here and above.
    fn of_saved(saved: &Saved) -> usize {
        let Saved {
            x,
            input_rstd,
            q,
            k,
            v,
            q_raw,
            k_raw,
            q_rstd,
            k_rstd,
            o,
            lse,
            ..
        } = saved;
        let Saved {
            attention_output,
            attention_output_rstd,
            middle,
            middle_rstd,
            gate,
            up,
            ..
        } = saved;
        let Saved {
            mlp_output,
            mlp_output_rstd,
            u,
            ..
        } = saved;
        let inner: usize = u.iter().map(|Kept { u, z }| u.len() + z.len()).sum();
        sum(&[
            x,
            input_rstd,
            q,
            k,
            v,
            q_raw,
            k_raw,
            q_rstd,
            k_rstd,
            o,
            lse,
            attention_output,
            attention_output_rstd,
        ]) + sum(&[middle, middle_rstd, gate, up, mlp_output, mlp_output_rstd])
            + inner
    }

    fn of_scratch(scratch: &Scratch) -> usize {
        let Scratch {
            normed,
            activated,
            d_activated,
            d_normed,
            d_o,
            d_q,
            d_k,
            d_v,
            d_head,
            d_output,
            ..
        } = scratch;
        let ProjectScratch {
            workspace: _,
            dropped,
            d_u,
            d_dropped,
            scaled,
            beyond,
        } = &scratch.project;
        sum(&[
            normed,
            activated,
            d_activated,
            d_normed,
            d_o,
            d_q,
            d_k,
            d_v,
            d_head,
            d_output,
            &scratch.stacked,
        ]) + sum(&[dropped, d_u, d_dropped, scaled, beyond])
    }

    #[test]
    fn what_attention_holds_apart_is_counted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden");
        let base = Base::open(&root.join("llama_gqa_tied").join("base")).unwrap();
        let config = LoraConfig::new(4, 4.0, TargetModules::AllLinear);
        let adapter = Adapter::init(config, &base, 1).unwrap();
        let row = |last: u32| (3..60).chain([last, 7]).collect::<Vec<u32>>();
        let rows: Vec<Vec<u32>> = (60..70).map(row).collect();
        let labels = |row: &Vec<u32>| row.iter().map(|&id| id as i32).collect::<Vec<_>>();
        let labels: Vec<Vec<i32>> = rows.iter().map(labels).collect();
        let both = rows.iter().zip(&labels);
        let packed = Packed::from_rows(both.map(|(row, labels)| (&row[..], &labels[..])));
        let mut gradients = vec![0.0; adapter.params.len()];
        let mut fused = Fused::new(&base, 1).unwrap();
        fused
            .gradients(&adapter, &packed, None, 1.0, &mut gradients)
            .unwrap();
        let batch = BatchSize::of(base.config(), &packed, true);
        assert_eq!(batch.tokens, 57 + 10 * 2);
        assert!(batch.attention > 9 * 57);
        assert_eq!(fused.engine.scratch.attention.values(), batch.attention);
    }

    #[test]
    fn the_buffers_of_every_family_are_as_large_as_foretold() {
        let cases = [
            "llama_gqa_tied",
            "qwen3_modules_to_save",
            "gemma2_capped",
            "gemma3_text",
            "phi3_fused",
        ];
        for case in cases {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden");
            let base = Base::open(&root.join(case).join("base")).unwrap();
            let mut config = LoraConfig::new(4, 4.0, TargetModules::AllLinear);
            config.use_dora = case == "llama_gqa_tied";
            let adapter = Adapter::init(config, &base, 1).unwrap();
            let ids: Vec<u32> = (3..20).collect();
            let labels: Vec<i32> = ids
                .iter()
                .map(|&id| if id < 8 { -100 } else { id as i32 })
                .collect();
            let packed =
                Packed::from_rows([(&ids[..], &labels[..]), (&ids[5..14], &labels[5..14])]);
            let mut gradients = vec![0.0; adapter.params.len()];
            let plans = [
                Plan::ALL,
                Plan::LEANEST,
                Plan {
                    exact: 0,
                    rounded: 1,
                },
            ];
            for plan in plans {
                let mut fused = Fused::new(&base, 1).unwrap().with_plan(plan);
                for dropout in [
                    None,
                    Some(crate::Dropout {
                        p: 0.1,
                        seed: 1,
                        step: 1,
                    }),
                ] {
                    fused
                        .gradients(&adapter, &packed, dropout, 1.0, &mut gradients)
                        .unwrap();
                    fused.losses(Some(&adapter), &packed).unwrap();
                    let batch = BatchSize::of(base.config(), &packed, false);
                    assert_eq!((batch.tokens, batch.longest), (packed.tokens(), 17));
                    let expected =
                        footprint(base.config(), &adapter.modules, dropout.is_some(), batch);
                    let engine = &fused.engine;
                    let stored: usize = engine
                        .stores
                        .iter()
                        .map(|s| s.bytes() + F32 * of_saved(&s.all))
                        .sum();
                    assert_eq!(
                        F32 * of_saved(&engine.work) + stored,
                        expected.activations(plan),
                        "{case} {plan:?}"
                    );
                    let state = 2 * packed.tokens() * base.config().hidden_size;
                    let found = of_scratch(&engine.scratch)
                        + state
                        + engine.scratch.project.workspace.len()
                        + engine.scratch.attention.values();
                    assert_eq!(F32 * found, expected.scratch, "{case} {dropout:?}");
                }
            }
        }
    }
}
