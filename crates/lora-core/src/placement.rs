//! From a config and a model's modules to a [`Layout`]: what trains, and where it lies.
use crate::layout::{PREFIX, Part, TargetedModule, TrainedTensor};
use crate::module::short_names;
use crate::{
    Bias, Error, Fault, Init, Layout, LoraConfig, Module, ModuleKind, parameters, select,
    token_rows,
};
use std::ops::Range;

impl LoraConfig {
    /// What the config trains on a model. A target that matches nothing is an error that lists the model's modules.
    ///
    /// # Errors
    /// If the config is not sound, or can't be honoured on this model.
    pub fn layout(&self, modules: &[Module]) -> Result<Layout, Error> {
        let (layout, unmatched) = self.layout_leniently(modules)?;
        if let Some(name) = parameters::unmatched(self, modules).first() {
            return Err(parameters::absent(name, modules));
        }
        match unmatched.first() {
            None => Ok(layout),
            Some(name) => Err(Error::config(
                Fault::new(format!("target module `{name}` is not in this model"))
                    .hint(format!("its modules are {}", short_names(modules))),
            )),
        }
    }

    /// One line for each option that has no effect on this model.
    ///
    /// # Errors
    /// As for [`Self::layout`].
    pub fn notes(&self, modules: &[Module]) -> Result<Vec<String>, Error> {
        Ok(select::select(self, modules)?.notes)
    }

    /// Refuses a config of which a part has no effect on this model, as a mistyped name in `rank_pattern`: whoever wrote it
    /// meant something. (A loaded adapter was trained as it is; there it is a note, as PEFT warns.)
    ///
    /// # Errors
    /// Names the first such option, and the modules that it could have meant.
    pub fn require_effect(&self, modules: &[Module]) -> Result<(), Error> {
        let found = select::select(self, modules)?;
        let Some(note) = found.notes.first() else {
            return Ok(());
        };
        let targeted: Vec<Module> = found.targeted.iter().map(|&i| modules[i].clone()).collect();
        let hint = match note.contains("_pattern ") {
            true => format!(
                "a key matches a module's whole path or its end; those that carry LoRA are {}",
                short_names(&targeted)
            ),
            false => format!("its modules are {}", short_names(modules)),
        };
        Err(Error::config(Fault::new(note).hint(hint)))
    }

    /// Like [`Self::layout`], but hands back the targets that match nothing, which PEFT passes over.
    pub(crate) fn layout_leniently(
        &self,
        modules: &[Module],
    ) -> Result<(Layout, Vec<String>), Error> {
        self.validate()?;
        let found = select::select(self, modules)?;
        self.refuse_tying(modules, &found)?;
        let mut place = Placement {
            config: self,
            end: 0,
        };
        let mut layout = Layout {
            modules: Vec::new(),
            trained: Vec::new(),
            rows: Vec::new(),
        };
        for &i in &found.targeted {
            layout.modules.push(place.targeted(&modules[i])?);
        }
        parameters::name(&mut layout.modules);
        for (i, module) in modules.iter().enumerate() {
            let (saved, targeted) = (found.saved.contains(&i), found.targeted.contains(&i));
            place.trained(module, saved, targeted, &mut layout.trained)?;
        }
        for mut rows in token_rows::rows_of(self, modules, &found)? {
            rows.range = place.take(&rows.paths[0], rows.rows.len(), rows.width)?;
            layout.rows.push(rows);
        }
        Ok((layout, found.unmatched))
    }

    fn refuse_tying(&self, modules: &[Module], found: &select::Selection) -> Result<(), Error> {
        let is_tied = modules.iter().any(|m| m.tied);
        let mut taken = found
            .targeted
            .iter()
            .chain(&found.saved)
            .map(|&i| &modules[i]);
        if self.ensure_weight_tying
            && is_tied
            && taken.any(|m| m.tied || m.kind == ModuleKind::Embedding)
        {
            return Err(Error::config(
                Fault::new("ensure_weight_tying is not supported where embedding or head train on a model that ties them")
                    .hint("without it each side trains its own, and a merge writes both"),
            ));
        }
        Ok(())
    }
}

/// Lays tensors out one after the other.
struct Placement<'c> {
    config: &'c LoraConfig,
    end: usize,
}

impl Placement<'_> {
    /// The next `rows` · `columns` places.
    fn take(&mut self, path: &str, rows: usize, columns: usize) -> Result<Range<usize>, Error> {
        let start = self.end;
        self.end = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_add(start))
            .ok_or_else(|| {
                Error::config(format!(
                    "{path}: {rows} · {columns} parameters are more than memory can address"
                ))
            })?;
        Ok(start..self.end)
    }

    fn targeted(&mut self, module: &Module) -> Result<TargetedModule, Error> {
        let config = self.config;
        let path = &module.path;
        if config.lora_bias && module.kind == ModuleKind::Embedding {
            return Err(Error::config(format!(
                "lora_bias is not possible on the embedding {path}"
            )));
        }
        let rank = config
            .rank_pattern
            .get("rank_pattern", path)?
            .unwrap_or(config.r);
        let alpha = config
            .alpha_pattern
            .get("alpha_pattern", path)?
            .unwrap_or(config.lora_alpha);
        if config.init == Init::Other("orthogonal".to_owned())
            && module.is_linear()
            && rank % 2 == 1
        {
            return Err(Error::config(format!(
                "{path}: init_lora_weights \"orthogonal\" needs an even rank, not {rank}"
            )));
        }
        let ranks = match module.kind {
            ModuleKind::Experts { count, .. } => rank.saturating_mul(count),
            _ => rank,
        };
        let a = self.take(path, ranks, module.in_features)?;
        let b = self.take(path, ranks, module.out_features)?;
        let lora_bias = config
            .lora_bias
            .then(|| self.take(path, 1, module.out_features))
            .transpose()?;
        let magnitude = config
            .use_dora
            .then(|| self.take(path, 1, module.out_features))
            .transpose()?;
        Ok(TargetedModule {
            name: path.clone(),
            path: path.clone(),
            kind: module.kind,
            in_features: module.in_features,
            out_features: module.out_features,
            rank,
            scaling: config.scaling_of(rank, alpha),
            a,
            b,
            lora_bias,
            magnitude,
        })
    }

    fn trained(
        &mut self,
        module: &Module,
        saved: bool,
        targeted: bool,
        all: &mut Vec<TrainedTensor>,
    ) -> Result<(), Error> {
        let path = &module.path;
        if saved {
            let shape = module.weight_shape();
            let range = self.take(
                path,
                module.out_features,
                shape.iter().product::<usize>() / module.out_features.max(1),
            )?;
            let tensor = format!("{path}.weight");
            all.push(TrainedTensor {
                name: format!("{PREFIX}{tensor}"),
                tensor,
                part: Part::Weight,
                shape,
                range,
                in_base: false,
            });
        }
        let by_option = match self.config.bias {
            Bias::None => false,
            Bias::All => true,
            Bias::LoraOnly => targeted,
        };
        if module.has_bias() && (saved || by_option) {
            let layer = if targeted { ".base_layer" } else { "" };
            all.push(TrainedTensor {
                tensor: format!("{path}.bias"),
                name: format!("{PREFIX}{path}{layer}.bias"),
                part: Part::Bias,
                shape: vec![module.out_features],
                range: self.take(path, 1, module.out_features)?,
                in_base: !saved,
            });
        }
        Ok(())
    }
}
