//! Places for what a pass keeps until its backward pass: of each layer that keeps its activations, of the layer at work, and of
//! what precedes the first one.
use super::saved::Saved;
use super::widths::AllWidths;
use lora_gpu::{Error, Gpu};
use std::ops::Range;

/// Places that were made so far, for so many rows.
#[derive(Debug, Default)]
pub(super) struct Places {
    rows: usize,
    /// By layer.
    layers: Vec<Option<Saved>>,
    work: Option<Saved>,
    before: Option<Saved>,
}

/// Those of a pass.
#[derive(Debug)]
pub(super) struct PlacesOfPass {
    /// By layer, of those that keep their activations.
    layers: Vec<Option<Saved>>,
    pub(super) work: Saved,
    pub(super) before: Option<Saved>,
}

impl PlacesOfPass {
    /// Where a layer keeps its activations, if it does.
    pub(super) fn of(&self, layer: usize) -> Option<&Saved> {
        self.layers.get(layer)?.as_ref()
    }
}

impl Places {
    /// For `rows` rows, of which the layers `kept` keep their activations.
    pub(super) fn get(
        &mut self,
        gpu: &Gpu,
        widths: &AllWidths,
        kept: Range<usize>,
        rows: usize,
    ) -> Result<PlacesOfPass, Error> {
        if rows > self.rows {
            *self = Self {
                rows,
                ..Self::default()
            };
        }
        let rows = self.rows;
        let place = |held: &mut Option<Saved>, widths| -> Result<Saved, Error> {
            if let Some(held) = held {
                return Ok(held.clone());
            }
            let saved = Saved::alloc(gpu, widths, rows)?;
            *held = Some(saved.clone());
            Ok(saved)
        };
        self.layers.resize_with(widths.layers.len(), || None);
        let layers = self.layers.iter_mut().zip(&widths.layers).enumerate();
        let layers = layers.map(|(layer, (held, widths))| {
            let keeps = kept.contains(&layer);
            keeps.then(|| place(held, *widths)).transpose()
        });
        Ok(PlacesOfPass {
            layers: layers.collect::<Result<_, _>>()?,
            work: place(&mut self.work, widths.work)?,
            before: match widths.before {
                Some(before) => Some(place(&mut self.before, before)?),
                None => None,
            },
        })
    }
}
