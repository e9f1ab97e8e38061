//! What is the same for every layer of one pass through the decoder (tokens, layout, rotary tables), and one layer in it.
use super::balance::Balancing;
use super::batch::Batch;
use super::binding::Binding;
use super::chosen::Chooser;
use super::norms::NormLayer;
use super::rotation::Rotation;
use super::watch::Watch;
use super::weights::Layer;
use crate::spec::Projection;
use lora_checkpoint::{Block, LayerSpec, Mixer, ModelConfig, RotaryPairs};
use lora_kernels::attention::Shape;
use lora_kernels::layout::Segment;
use lora_kernels::profile::{Part, Profile};
use lora_kernels::rope::{self, Heads, Pairs, Turn};
use lora_kernels::vector;
use rayon::prelude::*;
use std::sync::Arc;

/// One pass.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) binding: &'a Binding<'a>,
    /// The rows, and which of them see which.
    pub(super) batch: &'a Batch,
    /// One for each of the config's rotary embeddings.
    pub(super) rotations: Vec<Rotation>,
    /// Where the time goes.
    pub(super) profile: Arc<Profile>,
    /// Who looks at the inputs of linear layers.
    pub(super) watch: Watch,
    /// Who sees or gives the experts that tokens choose.
    pub(super) chooser: Chooser,
    /// The loss for their balance, where it counts.
    pub(super) balancing: Option<Balancing>,
}

/// A decoder layer in a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerPass<'p, 'b> {
    pub(super) pass: &'p Pass<'p>,
    pub(super) index: usize,
    pub(super) layer: &'p Layer<'b>,
    /// Rows of the hidden state, T; fewer where only some are wanted.
    pub(super) rows: usize,
}

impl LayerPass<'_, '_> {
    /// What the outputs of attention and MLP are multiplied by before they are added to the hidden state.
    pub(super) fn residual_multiplier(self) -> f32 {
        self.pass.config.multipliers.residual as f32
    }

    /// Whether the MLP reads what attention reads.
    pub(super) fn is_parallel(self) -> bool {
        self.pass.config.facts().block == Block::Parallel
    }

    /// Whether it has an MLP that every token goes through, alone or beside experts.
    pub(super) fn has_mlp(self) -> bool {
        self.pass.config.has_mlp(self.index)
    }

    /// What the layer is, as its config says.
    pub(super) fn spec(self) -> LayerSpec {
        self.pass.config.layers[self.index]
    }

    /// Whether attention's output goes through a gate.
    pub(super) fn has_output_gate(self) -> bool {
        let linears = self.pass.config.projections_of(self.index);
        linears.contains(&Projection::QGate)
    }

    /// Whether what a mixer's output projection reads has gone through a gate.
    pub(super) fn is_gated(self, mixer: Mixer) -> bool {
        mixer != Mixer::Attention || self.has_output_gate()
    }

    /// What is multiplied by the output of attention, of a rule or of the MLP before that is added to the hidden state.
    pub(super) fn output_factor(self, projection: Projection) -> f32 {
        let own = self.pass.config.output_factors(self.index, projection);
        let own = own.and_then(|rows| rows.first().map(|&(_, factor)| factor as f32));
        self.residual_multiplier() * own.unwrap_or(1.0)
    }

    /// The same layer, for so many rows.
    pub(super) fn of_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }
}

/// The projection of what a mixer gives.
pub(super) fn output_of(mixer: Mixer) -> Projection {
    match mixer {
        Mixer::Attention => Projection::O,
        Mixer::Delta => Projection::DeltaOut,
        Mixer::ShortConv => Projection::ConvOut,
        Mixer::Mamba => Projection::MambaOut,
    }
}

impl Pass<'_> {
    pub(super) fn tokens(&self) -> usize {
        self.batch.tokens()
    }

    /// n = the norm of x, both (T, width of γ); `rstd` (T) is for the backward pass.
    pub(super) fn norm(&self, x: &[f32], norm: &NormLayer, n: &mut [f32], rstd: &mut [f32]) {
        let eps = self.config.norm_eps as f32;
        self.profile.time(Part::Norm, 0, || {
            norm.forward(x, eps, n, rstd);
        });
    }

    /// What a layer's attention or MLP reads of the hidden state: its norm, or where the family has none itself.
    pub(super) fn input(
        &self,
        x: &[f32],
        norm: Option<&NormLayer>,
        n: &mut [f32],
        rstd: &mut [f32],
    ) {
        match norm {
            Some(norm) => self.norm(x, norm, n, rstd),
            None => n.copy_from_slice(x),
        }
    }

    /// n as [`Self::input`] wrote it.
    pub(super) fn input_again(
        &self,
        x: &[f32],
        norm: Option<&NormLayer>,
        rstd: &[f32],
        n: &mut [f32],
    ) {
        match norm {
            Some(norm) => self.norm_again(x, norm, rstd, n),
            None => n.copy_from_slice(x),
        }
    }

    /// n as [`Self::norm`] wrote it.
    fn norm_again(&self, x: &[f32], norm: &NormLayer, rstd: &[f32], n: &mut [f32]) {
        self.profile.time(Part::Norm, 0, || {
            norm.again(x, rstd, n);
        });
    }

    /// dx += the gradient through a norm of dn, which is used as scratch.
    pub(super) fn norm_backward(
        &self,
        x: &[f32],
        norm: &NormLayer,
        rstd: &[f32],
        dn: &mut [f32],
        dx: &mut [f32],
    ) {
        self.profile.time(Part::Norm, 0, || {
            norm.backward(x, rstd, dn, dx);
        });
    }

    /// Attention of a layer.
    pub(super) fn shape(&self, layer: usize) -> Shape {
        let c = self.config;
        let own = c.heads_of(layer);
        Shape {
            heads: c.num_attention_heads,
            kv_heads: own.kv,
            head_dim: own.width,
            scale: c.attention_scale() as f32,
            window: c.layers[layer].window,
            softcap: c.attention_softcap.map(|cap| cap as f32),
        }
    }

    /// Floating-point operations of one product of queries with the keys that they see, all heads.
    pub(super) fn attention_operations(&self, layer: usize) -> u64 {
        let shape = self.shape(layer);
        let pairs = |s: &Segment| -> usize {
            (0..s.queries)
                .map(|i| (s.past + i + 1).min(shape.window.unwrap_or(usize::MAX)))
                .sum()
        };
        let all: usize = self.batch.layout.segments().iter().map(pairs).sum();
        (2 * all * shape.heads * shape.head_dim) as u64
    }

    /// Rotates queries (Q) or keys (K) of a layer in place, or turns their gradient back; nothing if the layer has no
    /// rotary embedding.
    pub(super) fn rotate(&self, layer: usize, projection: Projection, x: &mut [f32], turn: Turn) {
        let rope = match projection {
            Projection::Q => self.config.query_rope(layer),
            _ => self.config.layers[layer].rope,
        };
        let Some(rope) = rope else { return };
        let width = self.config.shape(layer, projection).0;
        let head = self.config.heads_of(layer).width;
        let heads = Heads {
            count: width / head,
            width: head,
            pairs: match self.config.facts().rotary_pairs {
                RotaryPairs::Halves => Pairs::Halves,
                RotaryPairs::Neighbours => Pairs::Neighbours,
            },
        };
        self.profile.time(Part::Rotary, 0, || {
            for (rows, table) in &self.rotations[rope].spans {
                let values = &mut x[rows.start * width..rows.end * width];
                let positions = &self.batch.positions[rows.clone()];
                rope::rotate(values, positions, heads, table, turn);
            }
        });
    }
}

/// Values added at once by a thread.
const PART: usize = 1 << 14;

/// a += b.
pub(super) fn add(a: &mut [f32], b: &[f32]) {
    a.par_chunks_mut(PART)
        .zip(b.par_chunks(PART))
        .for_each(|(a, b)| vector::add(a, b));
}

/// a *= factor.
pub(super) fn scale(a: &mut [f32], factor: f32) {
    a.par_chunks_mut(PART)
        .for_each(|a| a.iter_mut().for_each(|a| *a *= factor));
}

/// The same in rows of so many columns by each factor.
pub(super) fn scale_columns(a: &mut [f32], factors: &[(usize, f64)]) {
    let width: usize = factors.iter().map(|(columns, _)| columns).sum();
    a.par_chunks_exact_mut(width).for_each(|mut row| {
        for &(columns, factor) in factors {
            let own = row.split_off_mut(..columns).unwrap_or_default();
            own.iter_mut().for_each(|a| *a *= factor as f32);
        }
    });
}
