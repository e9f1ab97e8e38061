//! [`Adapter`]: everything that trains in one flat vector, and what lies where.
use crate::layout::{AdapterTensor, Part, TargetedModule, TrainedTensor, tensors};
use crate::values::zeros;
use crate::{Error, Fault, Init, Layout, LoraConfig, Module, TrainedRows};
use std::borrow::Cow;

/// An adapter: its config, its modules in model order, and all its values in one flat f32 vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Config.
    pub config: LoraConfig,
    /// Modules that carry LoRA, in model order.
    pub modules: Vec<TargetedModule>,
    /// Tensors of the base that train as a whole, in model order.
    pub trained: Vec<TrainedTensor>,
    /// Rows of the vocabulary that train, in model order.
    pub rows: Vec<TrainedRows>,
    /// All values; `modules` and `trained` say where.
    pub params: Vec<f32>,
    /// PiSSA and OLoRA: A and B as they were initialised, laid out as `params`. The base lacks s·B·A of these, and a way through the
    /// model takes it out again.
    pub origin: Option<Vec<f32>>,
}

impl Adapter {
    /// An adapter of given values.
    ///
    /// # Errors
    /// If there are not as many values as the layout has places.
    pub fn from_layout(
        config: LoraConfig,
        layout: Layout,
        params: Vec<f32>,
    ) -> Result<Self, Error> {
        let places = layout.parameters();
        if places != params.len() {
            return Err(Error::config(format!(
                "{} values for {places} places of an adapter",
                params.len()
            )));
        }
        Ok(Self {
            config,
            modules: layout.modules,
            trained: layout.trained,
            rows: layout.rows,
            params,
            origin: None,
        })
    }

    /// All zeros on what the config trains.
    pub(crate) fn zeroed(config: LoraConfig, modules: &[Module]) -> Result<Self, Error> {
        let layout = config.layout(modules)?;
        let params = zeros(layout.parameters())?;
        Self::from_layout(config, layout, params)
    }

    /// What the adapter is beside its A and B, if anything: for formats and sums that hold nothing else.
    pub fn beyond_lora(&self) -> Option<&'static str> {
        let is = |part: Part| self.tensors().iter().any(|t| t.part == part);
        let kinds = [
            ("DoRA's magnitudes", is(Part::Magnitude)),
            ("lora_bias", is(Part::LoraBias)),
            ("modules_to_save", is(Part::Weight)),
            ("trained biases", is(Part::Bias)),
            ("trainable_token_indices", is(Part::Rows)),
        ];
        kinds
            .iter()
            .find(|(_, found)| *found)
            .map(|(what, _)| *what)
    }

    /// The adapter as s·B·A alone, on the unchanged base.
    ///
    /// # Errors
    /// If it holds anything that adds up in another way.
    pub(crate) fn as_low_rank(&self) -> Result<Cow<'_, Self>, Error> {
        match self.beyond_lora() {
            Some(what) => Err(Error::config(
                Fault::new(format!(
                    "an adapter with {what} is more than a product of low rank: it can't be weighted, added or compared by \
                     its factors"
                ))
                .hint("merge it into the base first (lora-merge --adapter A --out M), then go on from M"),
            )),
            None => Ok(match self.plain(&self.params)? {
                Some(plain) => Cow::Owned(plain),
                None => Cow::Borrowed(self),
            }),
        }
    }

    /// A and B of module `index`.
    ///
    /// # Panics
    /// If there is no such module.
    pub fn factors(&self, index: usize) -> (&[f32], &[f32]) {
        let module = &self.modules[index];
        (
            &self.params[module.a.clone()],
            &self.params[module.b.clone()],
        )
    }

    /// A and B of one expert of module `index`, (rank, in) and (out, rank).
    ///
    /// # Panics
    /// If there is no such module, or it has no such expert.
    pub fn factors_of(&self, index: usize, expert: usize) -> (&[f32], &[f32]) {
        let module = &self.modules[index];
        let (a, b) = self.factors(index);
        let [a_len, b_len] = [module.in_features, module.out_features].map(|n| n * module.rank);
        let part = |len: usize| expert * len..(expert + 1) * len;
        (&a[part(a_len)], &b[part(b_len)])
    }

    /// A and B of module `index` as they were initialised, if the base lacks them.
    ///
    /// # Panics
    /// If there is no such module.
    pub fn origin_factors(&self, index: usize) -> Option<(&[f32], &[f32])> {
        let (module, origin) = (&self.modules[index], self.origin.as_deref()?);
        (!module.is_embedding()).then(|| (&origin[module.a.clone()], &origin[module.b.clone()]))
    }

    /// The module at a path, if it carries LoRA.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.modules.iter().position(|m| m.path == path)
    }

    /// The values that stand in the place of a tensor of the base, if it trains as a whole.
    pub fn replacement(&self, tensor: &str) -> Option<&[f32]> {
        self.trained
            .iter()
            .find(|t| t.tensor == tensor)
            .map(|t| &self.params[t.range.clone()])
    }

    /// The rows of a module's weight that train alone, with their values.
    pub fn rows_of(&self, path: &str) -> Option<(&TrainedRows, &[f32])> {
        let rows = self.rows.iter().find(|rows| rows.are_of(path))?;
        Some((rows, &self.params[rows.range.clone()]))
    }

    /// Sets a row of a module's weight, if it trains alone.
    ///
    /// # Panics
    /// If the row has another width.
    pub fn set_row(&mut self, path: &str, row: usize, values: &[f32]) {
        let Some(rows) = self.rows.iter().find(|rows| rows.are_of(path)) else {
            return;
        };
        if let Some(place) = rows.place_of(row) {
            let start = rows.range.start + place * rows.width;
            self.params[start..start + rows.width].copy_from_slice(values);
        }
    }

    /// All tensors, in the order of the flat parameters.
    pub fn tensors(&self) -> Vec<AdapterTensor> {
        tensors(&self.modules, &self.trained, &self.rows)
    }

    /// Trainable parameters.
    pub fn trainable_parameters(&self) -> usize {
        self.params.len()
    }

    /// The parameters that PEFT adds to the model: all but the base's own biases.
    pub fn added_parameters(&self) -> usize {
        let own: usize = self
            .trained
            .iter()
            .filter(|t| t.in_base)
            .map(|t| t.range.len())
            .sum();
        self.params.len() - own
    }

    /// The same adapter for the unchanged base: where A₀ and B₀ were taken out at initialisation, twice the rank, A' = [A; A₀]
    /// and B' = [B, −B₀] (PEFT's `subtract_mutated_init`). The scaling stays: α doubles, with rsLoRA it grows by √2.
    ///
    /// # Errors
    /// If memory is short.
    pub fn into_plain(self) -> Result<Self, Error> {
        Ok(self.plain(&self.params)?.unwrap_or(self))
    }

    /// The same with these parameters; none where nothing was taken out.
    pub(crate) fn plain(&self, own: &[f32]) -> Result<Option<Self>, Error> {
        let Some(origin) = &self.origin else {
            return Ok(None);
        };
        let mut config = self.config.clone();
        let factor = if config.use_rslora {
            std::f64::consts::SQRT_2
        } else {
            2.0
        };
        config.r = config.r.saturating_mul(2);
        config.lora_alpha *= factor;
        config.rank_pattern = config.rank_pattern.map(|rank| rank.saturating_mul(2));
        config.alpha_pattern = config.alpha_pattern.map(|alpha| factor * alpha);
        config.init = Init::Kaiming;
        let mut modules = self.modules.clone();
        let mut trained = self.trained.clone();
        let mut rows = self.rows.clone();
        let mut params = Vec::new();
        params.try_reserve_exact(2 * own.len()).map_err(|_| {
            Error::config(format!(
                "no memory for {} adapter parameters",
                2 * own.len()
            ))
        })?;
        let mut push = |values: &mut dyn Iterator<Item = f32>| {
            let start = params.len();
            params.extend(values);
            start..params.len()
        };
        for m in &mut modules {
            let rank = m.rank;
            let (b, b0) = (&own[m.b.clone()], &origin[m.b.clone()]);
            let rows = b.chunks_exact(rank).zip(b0.chunks_exact(rank));
            m.a = push(
                &mut self.params[m.a.clone()]
                    .iter()
                    .chain(&origin[m.a.clone()])
                    .copied(),
            );
            m.b =
                push(&mut rows.flat_map(|(b, b0)| b.iter().copied().chain(b0.iter().map(|x| -x))));
            m.rank = 2 * rank;
            for range in [&mut m.lora_bias, &mut m.magnitude].into_iter().flatten() {
                *range = push(&mut self.params[range.clone()].iter().copied());
            }
        }
        for tensor in &mut trained {
            tensor.range = push(&mut self.params[tensor.range.clone()].iter().copied());
        }
        for own in &mut rows {
            own.range = push(&mut self.params[own.range.clone()].iter().copied());
        }
        Ok(Some(Self {
            config,
            modules,
            trained,
            rows,
            params,
            origin: None,
        }))
    }
}
