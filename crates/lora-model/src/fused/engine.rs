//! Weights and memory of the fused route, and its passes over all layers. Runs inside the route's pool.
use super::batch::Batch;
use super::binding::{Binding, Dora};
use super::buffers::{Buffer, Kept, Saved, Scratch};
use super::cache::LayerCache;
use super::embed::{self, AdaptedHead};
use super::keep::{Keeping, Plan, Store};
use super::layer;
use super::pass::{Pass, Tables};
use super::project::{Applied, RowsOf};
use super::rows::Wanted;
use super::weights::Weights;
use crate::{Base, Error, Packed, SequenceLoss};
use lora_checkpoint::{ModelConfig, Norm};
use lora_kernels::layout::Layout;
use lora_kernels::linear::Lora;
use lora_kernels::loss::{self, TokenLoss};
use lora_kernels::profile::{Part, Profile};
use lora_kernels::{dora, linear, norm, vector};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Engine<'b> {
    base: &'b Base,
    pub(super) config: &'b ModelConfig,
    pub(super) weights: Weights<'b>,
    /// One for each of the config's rotary embeddings.
    tables: Vec<Tables>,
    /// What is kept of the layers' forward passes.
    pub(super) plan: Plan,
    /// The layer at work, where it keeps nothing of its own.
    pub(super) work: Saved,
    /// One a layer, in training.
    pub(super) stores: Vec<Store>,
    pub(super) scratch: Scratch,
    /// The hidden state, (T, H), and then its gradient.
    x: Buffer,
    d_x: Buffer,
    head: HeadBuffers,
    /// What the backward pass needs of the embedding.
    embedded: Kept,
    /// Where the time goes.
    pub(super) profile: Arc<Profile>,
    /// Σ W² of each output of the modules that DoRA has met.
    squares: BTreeMap<String, Vec<f64>>,
}

/// Memory of the head and the loss. n = rows whose logits are wanted.
#[derive(Debug, Default)]
struct HeadBuffers {
    /// Hidden rows before the last norm, (n, H).
    rows: Buffer,
    /// The same after it; then their gradient.
    normed: Buffer,
    rstd: Buffer,
    d_rows: Buffer,
    workspace: linear::Workspace,
    loss: loss::Scratch,
    /// Of a head at which something trains.
    kept: Kept,
    logits: Vec<f32>,
}

impl<'b> Engine<'b> {
    pub(super) fn new(base: &'b Base) -> Result<Self, Error> {
        Ok(Self {
            base,
            config: base.config(),
            weights: Weights::of(base)?,
            tables: base
                .config()
                .ropes
                .iter()
                .map(|_| Tables::default())
                .collect(),
            plan: Plan::ALL,
            work: Saved::default(),
            stores: Vec::new(),
            scratch: Scratch::default(),
            x: Buffer::default(),
            d_x: Buffer::default(),
            head: HeadBuffers::default(),
            embedded: Kept::default(),
            profile: Arc::default(),
            squares: BTreeMap::new(),
        })
    }

    /// The rows of a pack, those of common beginnings once if `share`.
    pub(super) fn batch(&self, packed: &Packed, share: bool) -> Batch {
        let variants = |length| {
            self.config
                .ropes
                .iter()
                .map(|rope| rope.variant(length))
                .collect::<Vec<_>>()
        };
        Batch::of(packed, share, variants)
    }

    /// What a pass over these segments, which belong to sequences of the given lengths, needs beside the weights.
    fn pass<'p>(
        &mut self,
        binding: Binding<'p>,
        positions: Vec<u32>,
        layout: Layout,
        lengths: &[usize],
    ) -> Pass<'p>
    where
        'b: 'p,
    {
        let tables = self.config.ropes.iter().zip(&mut self.tables);
        let rotations = tables
            .map(|(rope, tables)| tables.rotation(rope, &layout, lengths))
            .collect();
        Pass {
            config: self.config,
            binding,
            positions,
            layout,
            rotations,
            profile: Arc::clone(&self.profile),
        }
    }

    /// Takes an adapter on: its norms and biases stand in the place of the base's, and DoRA's norms are computed.
    pub(super) fn adopt(&mut self, binding: &mut Binding<'_>) -> Result<(), Error> {
        self.weights.adopt(self.base, binding)?;
        let Some(adapter) = binding
            .adapter
            .filter(|a| a.modules.iter().any(|m| m.magnitude.is_some()))
        else {
            return Ok(());
        };
        let mut found: Vec<Option<Dora>> = adapter.modules.iter().map(|_| None).collect();
        let slots: Vec<_> = binding.slots().collect();
        for (slot, place) in slots {
            let Some(index) = slot.module else { continue };
            let module = &adapter.modules[index];
            let Some(magnitude) = &module.magnitude else {
                continue;
            };
            let weight = match place {
                Some((layer, projection)) => &self.weights.layers[layer].linear(projection).weight,
                None if module.is_embedding() => &self.weights.embedding,
                None => &self.weights.head.weight,
            };
            let is_embedding = module.is_embedding();
            let squares = self.squares.entry(module.path.clone()).or_insert_with(|| {
                if is_embedding {
                    dora::column_squares(weight)
                } else {
                    dora::row_squares(weight)
                }
            });
            let (site, workspace) = (binding.site(slot), &mut self.head.workspace);
            let Some(lora) = &site.lora else { continue };
            let (a, b) = with_origin(lora, site.origin.as_ref());
            let whole = Lora {
                a: &a,
                b: &b,
                rank: a.len() / module.in_features,
                scaling: lora.scaling,
            };
            let mut projected = vec![0f32; whole.rank * module.out_features];
            if is_embedding {
                linear::backward(
                    weight,
                    whole.a,
                    whole.rank,
                    &mut projected,
                    false,
                    workspace,
                );
            } else {
                linear::forward(
                    weight,
                    whole.a,
                    whole.rank,
                    &mut projected,
                    false,
                    workspace,
                );
            }
            let norms = dora::norms(&whole, squares, &projected);
            let gain = adapter.params[magnitude.clone()]
                .iter()
                .zip(&norms)
                .map(|(m, norm)| m / norm)
                .collect();
            found[index] = Some(Dora { norms, gain });
        }
        binding.set_dora(found);
        Ok(())
    }

    /// The hidden state before the first layer, in `self.x`.
    fn embed(&mut self, binding: &Binding<'_>, ids: &[u32]) {
        let x = self.x.get(ids.len() * self.config.hidden_size);
        let (site, scale) = (
            binding.site(binding.embedding),
            self.config.embedding_scale() as f32,
        );
        let (table, embedded) = (&self.weights.embedding, &mut self.embedded);
        self.profile.time(Part::Embedding, 0, || {
            embed::forward(&site, table, ids, scale, x, embedded)
        });
    }

    pub(super) fn logits(&mut self, binding: Binding<'_>, packed: &Packed) -> Vec<f32> {
        let Batch {
            ids,
            positions,
            layout,
            lengths,
            ..
        } = self.batch(packed, false);
        let binding = self.forward(binding, &ids, positions, layout, &lengths, None, None);
        let all: Vec<usize> = (0..packed.tokens()).collect();
        self.logits_of(&binding, &all)
    }

    pub(super) fn losses(
        &mut self,
        binding: Binding<'_>,
        packed: &Packed,
        share: bool,
    ) -> Vec<SequenceLoss> {
        let mut batch = self.batch(packed, share);
        let (positions, layout) = (
            mem::take(&mut batch.positions),
            mem::take(&mut batch.layout),
        );
        let targets = Targets::of(packed, &batch, &binding);
        let wanted = targets.wanted.rows.as_deref();
        let binding = self.forward(
            binding,
            &batch.ids,
            positions,
            layout,
            &batch.lengths,
            None,
            wanted,
        );
        self.loss(&binding, packed, &batch, &targets, 1.0, None)
    }

    pub(super) fn gradients(
        &mut self,
        binding: Binding<'_>,
        packed: &Packed,
        share: bool,
        scale: f32,
        gradients: &mut [f32],
    ) -> Vec<SequenceLoss> {
        let config = self.config;
        let lowest = binding.lowest_layer();
        let mut batch = self.batch(packed, share);
        let (positions, layout) = (
            mem::take(&mut batch.positions),
            mem::take(&mut batch.layout),
        );
        let targets = Targets::of(packed, &batch, &binding);
        let pass = self.pass(binding, positions, layout, &batch.lengths);
        let ids = &batch.ids;
        let layers = config.num_hidden_layers;
        let wanted = |layer: usize| {
            targets
                .wanted
                .rows
                .as_deref()
                .filter(|_| layer + 1 == layers)
        };
        self.stores.resize_with(layers, Store::default);
        self.embed(&pass.binding, ids);
        let x = self.x.get(ids.len() * config.hidden_size);
        for (i, (layer, store)) in self.weights.layers.iter().zip(&mut self.stores).enumerate() {
            let keeping = self.plan.of_layer(i, lowest, layers);
            let saved = if keeping == Keeping::All {
                &mut store.all
            } else {
                &mut self.work
            };
            saved.visit(|buffer, _| buffer.forget());
            layer::forward(
                &pass,
                i,
                layer,
                x,
                saved,
                None,
                wanted(i),
                &mut self.scratch,
            );
            match keeping {
                Keeping::Half => self
                    .profile
                    .time(Part::Keep, 0, || store.keep_half(&mut self.work)),
                Keeping::Input => self
                    .profile
                    .time(Part::Keep, 0, || store.keep_input(&self.work)),
                Keeping::All | Keeping::Nothing => {}
            }
        }
        let losses = self.loss(
            &pass.binding,
            packed,
            &batch,
            &targets,
            scale,
            Some(gradients),
        );
        let (x, dx) = (
            self.x.get(ids.len() * config.hidden_size),
            self.d_x.get(ids.len() * config.hidden_size),
        );
        for (i, (layer, store)) in self
            .weights
            .layers
            .iter()
            .zip(&mut self.stores)
            .enumerate()
            .skip(lowest)
            .rev()
        {
            let keeping = self.plan.of_layer(i, lowest, layers);
            match keeping {
                Keeping::Half => self
                    .profile
                    .time(Part::Keep, 0, || store.restore_half(&mut self.work)),
                Keeping::Input => {
                    x.copy_from_slice(store.restore_input(&mut self.work));
                    layer::again(&pass, i, layer, x, &mut self.work, &mut self.scratch);
                }
                Keeping::All | Keeping::Nothing => {} // the last layer is still in `work`
            }
            let saved = if keeping == Keeping::All {
                &mut store.all
            } else {
                &mut self.work
            };
            layer::backward(
                &pass,
                i,
                layer,
                dx,
                saved,
                gradients,
                wanted(i),
                &mut self.scratch,
            );
        }
        let (site, project) = (
            pass.binding.site(pass.binding.embedding),
            &mut self.scratch.project,
        );
        let scale = config.embedding_scale() as f32;
        embed::backward(&site, ids, scale, dx, &self.embedded, gradients, project);
        losses
    }

    /// Leaves the hidden states after the last layer in `self.x`, of the `wanted` rows if only some are, and gives the binding
    /// back. Nothing is saved for a backward pass.
    pub(super) fn forward<'p>(
        &mut self,
        binding: Binding<'p>,
        ids: &[u32],
        positions: Vec<u32>,
        layout: Layout,
        lengths: &[usize],
        mut cache: Option<&mut [LayerCache]>,
        wanted: Option<&[usize]>,
    ) -> Binding<'p>
    where
        'b: 'p,
    {
        let pass = self.pass(binding, positions, layout, lengths);
        self.embed(&pass.binding, ids);
        let x = self.x.get(ids.len() * self.config.hidden_size);
        for (i, layer) in self.weights.layers.iter().enumerate() {
            let cache = cache.as_deref_mut().map(|c| &mut c[i]);
            let wanted = wanted.filter(|_| i + 1 == self.weights.layers.len());
            layer::forward(
                &pass,
                i,
                layer,
                x,
                &mut self.work,
                cache,
                wanted,
                &mut self.scratch,
            );
        }
        pass.binding
    }

    /// Copies the given rows of the hidden state and normalises them: (n, H) in `head.normed`.
    fn final_norm(&mut self, rows: &[usize]) {
        let (h, eps) = (self.config.hidden_size, self.config.rms_norm_eps as f32);
        let last = rows.iter().max().map_or(0, |&r| (r + 1) * h);
        let x = self.x.read(last);
        let gathered = self.head.rows.get(rows.len() * h);
        for (to, &from) in gathered.chunks_exact_mut(h).zip(rows) {
            to.copy_from_slice(&x[from * h..(from + 1) * h]);
        }
        norm::forward(
            gathered,
            &self.weights.norm,
            eps,
            self.head.normed.get(rows.len() * h),
            self.head.rstd.get(rows.len()),
        );
    }

    /// Logits of the given rows of the hidden state, (n, V).
    pub(super) fn logits_of(&mut self, binding: &Binding<'_>, rows: &[usize]) -> Vec<f32> {
        self.final_norm(rows);
        let mut logits = vec![0.0; rows.len() * self.config.vocab_size];
        let x = self.head.normed.read(rows.len() * self.config.hidden_size);
        let (site, rows) = (
            binding.site(binding.head),
            RowsOf {
                first: 0,
                count: rows.len(),
            },
        );
        let applied = Applied {
            site: &site,
            linear: &self.weights.head,
            rows,
            x,
        };
        applied.forward(
            &mut logits,
            false,
            &mut self.head.kept,
            &mut self.scratch.project,
        );
        if let Some(cap) = self.config.logit_softcap {
            loss::soft_cap(&mut logits, cap as f32);
        }
        logits
    }

    /// Losses of the supervised rows; with `gradients`, `self.d_x` gets scale · dΣnll/dx for the rows that the last layer
    /// computed.
    fn loss(
        &mut self,
        binding: &Binding<'_>,
        packed: &Packed,
        batch: &Batch,
        targets: &Targets,
        scale: f32,
        mut gradients: Option<&mut [f32]>,
    ) -> Vec<SequenceLoss> {
        let rows = &targets.wanted.places;
        let losses = self.head_loss(binding, rows, &targets.ids, scale, gradients.as_deref_mut());
        if let Some(gradients) = gradients {
            let (h, head) = (self.config.hidden_size, &mut self.head);
            let (x, rstd) = (head.rows.read(rows.len() * h), head.rstd.read(rows.len()));
            let (normed, d_rows) = (
                head.normed.get(rows.len() * h),
                head.d_rows.get(rows.len() * h),
            );
            binding.norm_gradient((None, Norm::Input), x, rstd, normed, gradients);
            d_rows.fill(0.0);
            norm::backward(x, &self.weights.norm, rstd, normed, d_rows);
            let dx = self.d_x.get(batch.tokens() * h);
            dx.fill(0.0);
            for (from, &to) in d_rows.chunks_exact(h).zip(rows) {
                vector::add(&mut dx[to * h..(to + 1) * h], from); // a shared row has several targets
            }
        }
        by_sequence(packed.sequences(), &targets.sequences, &losses)
    }

    /// Losses of rows against their targets; with `gradients`, `self.head.normed` holds the gradient of the rows afterwards.
    fn head_loss(
        &mut self,
        binding: &Binding<'_>,
        rows: &[usize],
        targets: &[u32],
        scale: f32,
        gradients: Option<&mut [f32]>,
    ) -> Vec<TokenLoss> {
        self.final_norm(rows);
        let mut losses = vec![TokenLoss::default(); rows.len()];
        let (site, cap) = (
            binding.site(binding.head),
            self.config.logit_softcap.map(|cap| cap as f32),
        );
        let (backward, head, profile) = (gradients.is_some(), &mut self.head, &*self.profile);
        let normed = head.normed.get(rows.len() * self.config.hidden_size);
        if site.is_plain() {
            let weight = &self.weights.head.weight;
            loss::cross_entropy(
                weight,
                normed,
                targets,
                cap,
                scale,
                backward,
                &mut losses,
                &mut head.loss,
                profile,
            );
            return losses;
        }
        let mut adapted = AdaptedHead {
            site: &site,
            linear: &self.weights.head,
            kept: &mut head.kept,
            scratch: &mut self.scratch.project,
            gradients: gradients.unwrap_or_default(),
            rows: Vec::new(),
        };
        let logits = &mut head.logits;
        loss::cross_entropy_through(
            &mut adapted,
            normed,
            targets,
            cap,
            scale,
            backward,
            &mut losses,
            logits,
            profile,
        );
        losses
    }
}

/// A and B of both products as one: s·B·A − s·B₀·A₀ = s·[B, −B₀]·[A; A₀].
fn with_origin<'l>(lora: &Lora<'l>, origin: Option<&Lora<'l>>) -> (Cow<'l, [f32]>, Cow<'l, [f32]>) {
    let Some(origin) = origin else {
        return (lora.a.into(), lora.b.into());
    };
    let a = [lora.a, origin.a].concat();
    let rows = lora
        .b
        .chunks_exact(lora.rank)
        .zip(origin.b.chunks_exact(origin.rank));
    let b: Vec<f32> = rows
        .flat_map(|(b, b0)| b.iter().copied().chain(b0.iter().map(|x| -x)))
        .collect();
    (a.into(), b.into())
}

/// The supervised tokens of a batch.
#[derive(Debug)]
struct Targets {
    /// The sequence of each.
    sequences: Vec<usize>,
    ids: Vec<u32>,
    /// The row that foretells each.
    wanted: Wanted,
}

impl Targets {
    fn of(packed: &Packed, batch: &Batch, binding: &Binding<'_>) -> Self {
        let (sequences, ids) = packed
            .targets()
            .map(|(sequence, _, id)| (sequence, id))
            .unzip();
        let rows = packed
            .targets()
            .map(|(sequence, at, _)| batch.row(sequence, at - packed.starts[sequence]))
            .collect();
        let wanted = if binding.drops() {
            Wanted::among_all(rows)
        } else {
            Wanted::of(rows, batch.tokens())
        };
        Self {
            sequences,
            ids,
            wanted,
        }
    }
}

fn by_sequence(sequences: usize, targets: &[usize], losses: &[TokenLoss]) -> Vec<SequenceLoss> {
    let mut out = vec![SequenceLoss::default(); sequences];
    for (&sequence, token) in targets.iter().zip(losses) {
        let s = &mut out[sequence];
        s.nll += f64::from(token.nll);
        s.tokens += 1;
        s.correct += usize::from(token.correct);
    }
    out
}
