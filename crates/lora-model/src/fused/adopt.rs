//! Taking an adapter on: its norms and biases stand in the place of the base's, and DoRA's norms are computed.
use super::binding::Binding;
use super::engine::Engine;
use super::matrix::Matrix;
use super::site::Dora;
use super::unbound::Slot;
use crate::Error;
use crate::spec::Projection;
use lora_core::TargetedModule;
use lora_kernels::lora::Lora;
use lora_kernels::matrix::{Mat, Place};
use lora_kernels::{dora, linear};

/// Where a module sits: its layer and projection; None for the embedding and the head.
type Layered = Option<(usize, Projection)>;

impl Engine<'_> {
    pub(super) fn adopt(&mut self, binding: &mut Binding<'_>) -> Result<(), Error> {
        self.weights.adopt(self.base, binding)?;
        let Some(adapter) = binding.adapter else {
            return Ok(());
        };
        if adapter.modules.iter().all(|m| m.magnitude.is_none()) {
            return Ok(());
        }
        let mut found: Vec<Option<Dora>> = adapter.modules.iter().map(|_| None).collect();
        for (slot, layered) in binding.slots() {
            let Some(index) = slot.module else { continue };
            let module = &adapter.modules[index];
            let Some(magnitude) = &module.magnitude else {
                continue;
            };
            let Some(norms) = self.norms_of(binding, slot, layered, module) else {
                continue;
            };
            let magnitude = &adapter.params[magnitude.clone()];
            let gain = magnitude.iter().zip(&norms).map(|(m, norm)| m / norm);
            let gain = gain.collect();
            found[index] = Some(Dora { norms, gain });
        }
        binding.set_dora(found);
        Ok(())
    }

    /// ‖W + s·B·A‖ of each output of a module.
    fn norms_of(
        &mut self,
        binding: &Binding<'_>,
        slot: Slot,
        layered: Layered,
        module: &TargetedModule,
    ) -> Option<Vec<f32>> {
        let is_embedding = module.is_embedding();
        let weight: &Matrix<'_> = match layered {
            Some((layer, projection)) => &self.weights.layers[layer].linear(projection).weight,
            None if is_embedding => &self.weights.embedding,
            None => &self.weights.head.weight,
        };
        let squares = self.squares.entry(module.path.clone()).or_insert_with(|| {
            if is_embedding {
                dora::column_squares(weight)
            } else {
                dora::row_squares(weight)
            }
        });
        let site = binding.site(slot);
        let whole = Factors::of(site.lora.as_ref()?, site.origin.as_ref());
        let lora = whole.lora();
        let mut projected = vec![0f32; lora.rank() * module.out_features];
        let to = Place::new(&mut projected, lora.rank(), module.out_features);
        let workspace = &mut self.head.workspace;
        if is_embedding {
            linear::backward(weight, lora.a, to, workspace);
        } else {
            linear::forward(weight, lora.a, to, workspace);
        }
        Some(dora::norms(&lora, squares, &projected))
    }
}

/// A and B of both products as one: s·B·A − s·B₀·A₀ = s·[B, −B₀]·[A; A₀].
struct Factors {
    a: Vec<f32>,
    b: Vec<f32>,
    in_features: usize,
    out_features: usize,
    scaling: f32,
}

impl Factors {
    fn of(lora: &Lora<'_>, origin: Option<&Lora<'_>>) -> Self {
        let mut a = lora.a.values().to_vec();
        let mut b = lora.b.values().to_vec();
        if let Some(origin) = origin {
            a.extend_from_slice(origin.a.values());
            let rows = lora.b.values().chunks_exact(lora.rank());
            let taken = origin.b.values().chunks_exact(origin.rank());
            b = rows
                .zip(taken)
                .flat_map(|(b, b0)| b.iter().copied().chain(b0.iter().map(|x| -x)))
                .collect();
        }
        Self {
            a,
            b,
            in_features: lora.in_features(),
            out_features: lora.out_features(),
            scaling: lora.scaling,
        }
    }

    fn lora(&self) -> Lora<'_> {
        let rank = self.a.len() / self.in_features;
        Lora {
            a: Mat::new(&self.a, rank, self.in_features),
            b: Mat::new(&self.b, self.out_features, rank),
            scaling: self.scaling,
        }
    }
}
