//! What of an adapter has not found its place in the decoder yet: nothing may be left.
use super::norms::NormPart;
use crate::Error;
use lora_core::{Adapter, TrainedRows};
use std::collections::HashMap;

/// What trains at one linear layer or at the embedding: indices into the adapter's modules, trained tensors and rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) module: Option<usize>,
    pub(crate) weight: Option<usize>,
    pub(crate) bias: Option<usize>,
    /// Rows that train, of the vocabulary alone.
    pub(crate) rows: Option<usize>,
}

/// Modules by path and trained tensors by name.
pub(crate) struct Unbound<'a> {
    adapter: &'a Adapter,
    modules: HashMap<&'a str, usize>,
    trained: HashMap<&'a str, usize>,
    rows: HashMap<&'a str, usize>,
}

impl<'a> Unbound<'a> {
    pub(crate) fn of(adapter: &'a Adapter) -> Self {
        let modules = adapter.modules.iter().enumerate();
        let trained = adapter.trained.iter().enumerate();
        let rows = adapter.rows.iter().enumerate();
        Self {
            adapter,
            modules: modules.map(|(i, m)| (m.path.as_str(), i)).collect(),
            trained: trained.map(|(i, t)| (t.tensor.as_str(), i)).collect(),
            rows: rows
                .flat_map(|(i, r)| r.paths.iter().map(move |path| (path.as_str(), i)))
                .collect(),
        }
    }

    /// The trained tensor of a name.
    pub(crate) fn tensor(&mut self, name: &str) -> Option<usize> {
        self.trained.remove(name)
    }

    /// What trains of the norm at a path.
    pub(super) fn norm(&mut self, path: &str) -> Vec<(NormPart, usize)> {
        let parts = [(NormPart::Weight, "weight"), (NormPart::Bias, "bias")];
        let found = parts.map(|(part, name)| Some((part, self.tensor(&format!("{path}.{name}"))?)));
        found.into_iter().flatten().collect()
    }

    /// What trains at a path, of shape (out, in).
    pub(crate) fn slot(&mut self, path: &str, shape: (usize, usize)) -> Result<Slot, Error> {
        let (out_features, in_features) = shape;
        let slot = Slot {
            module: self.modules.remove(path),
            weight: self.tensor(&format!("{path}.weight")),
            bias: self.tensor(&format!("{path}.bias")),
            rows: self.rows.remove(path),
        };
        if let Some(m) = slot.module.map(|index| &self.adapter.modules[index])
            && (m.out_features, m.in_features) != shape
        {
            return Err(Error::invalid(format!(
                "{path}: the adapter is for a layer of shape ({}, {}), the base's is ({out_features}, {in_features})",
                m.out_features, m.in_features
            )).hint("use the base that the adapter was trained on"));
        }
        let values = out_features * in_features;
        let whole = slot.weight.map(|index| &self.adapter.trained[index]);
        if let Some(t) = whole.filter(|t| t.range.len() != values) {
            return Err(Error::invalid(format!(
                "{}: the adapter holds shape {:?}, the base's is of {values} values",
                t.tensor, t.shape
            ))
            .hint("use the base that the adapter was trained on"));
        }
        if let Some(own) = slot.rows.map(|index| &self.adapter.rows[index]) {
            self.check_rows(path, own, values)?;
        }
        Ok(slot)
    }

    /// The module of a parameter of a mixture, of shape (out, in), or of so many experts' matrices of this shape.
    pub(super) fn parameter(
        &mut self,
        path: &str,
        experts: Option<usize>,
        shape: (usize, usize),
    ) -> Result<Option<usize>, Error> {
        let Some(index) = self.modules.remove(path) else {
            return Ok(None);
        };
        let m = &self.adapter.modules[index];
        let found = (m.experts(), (m.out_features, m.in_features));
        if found == (experts, shape) {
            return Ok(Some(index));
        }
        let described = |(experts, (out, inn)): (Option<usize>, (usize, usize))| match experts {
            Some(experts) => format!("({experts}, {out}, {inn})"),
            None => format!("({out}, {inn})"),
        };
        Err(Error::invalid(format!(
            "{path}: the adapter is for a parameter of shape {}, the base's is {}",
            described(found),
            described((experts, shape))
        ))
        .hint("use the base that the adapter was trained on"))
    }

    /// Rows of a weight of so many values in all.
    fn check_rows(&self, path: &str, own: &TrainedRows, values: usize) -> Result<(), Error> {
        let vocabulary = values / own.width.max(1);
        let outside = own.rows.iter().find(|row| **row >= vocabulary);
        if values == vocabulary * own.width && outside.is_none() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{path}: the adapter trains rows of {} values (tokens up to {}), the base's weight is of {values} values",
            own.width,
            own.rows.iter().max().copied().unwrap_or(0)
        ))
        .hint("use the base that the adapter was trained on"))
    }

    pub(crate) fn nothing_left(self) -> Result<(), Error> {
        let left = self.modules.into_keys().chain(self.trained.into_keys());
        let left = left.chain(self.rows.into_keys());
        match left.min() {
            None => Ok(()),
            Some(path) => Err(Error::invalid(format!(
                "the adapter trains {path}, which this base does not have"
            ))
            .hint("use the base that the adapter was trained on")),
        }
    }
}
