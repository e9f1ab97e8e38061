//! A new adapter's values: PEFT's `init_lora_weights`, DoRA's magnitudes, and copies of the base's tensors.
use crate::adapter::Adapter;
use crate::layout::TargetedModule;
use crate::linalg::{olora, pissa};
use crate::module::short_name;
use crate::values::zeros;
use crate::{BaseModel, Error, Init, LoraConfig, TargetModules, weight_norms};
use lora_random::Generator;
use rayon::prelude::*;
use std::collections::BTreeSet;

impl Adapter {
    /// A new adapter on a base, from generators keyed by (seed, module path). `all-linear` becomes the list of the names that
    /// it found, as in PEFT.
    ///
    /// # Errors
    /// If the config can't be honoured on this model, memory is short, or a weight that it needs can't be read.
    pub fn init(mut config: LoraConfig, base: &impl BaseModel, seed: u64) -> Result<Self, Error> {
        if let Init::Other(word) = &config.init {
            return Err(Error::config(format!(
                "init_lora_weights \"{word}\" is not supported for a new adapter"
            )));
        }
        let layout = config.layout(&base.modules())?;
        if config.target_modules == TargetModules::AllLinear {
            let linear = layout.modules.iter().filter(|m| m.kind.is_linear());
            let names: BTreeSet<&str> = linear.map(|m| short_name(&m.path)).collect();
            config.target_modules =
                TargetModules::List(names.into_iter().map(str::to_string).collect());
        }
        let params = zeros(layout.parameters())?;
        let mut adapter = Self::from_layout(config, layout, params)?;
        adapter.fill_factors(seed);
        if adapter.config.init.changes_base() {
            adapter.decompose(base)?;
        }
        adapter.fill_magnitudes(base)?;
        for tensor in &adapter.trained {
            base.read(&tensor.tensor, 0, &mut adapter.params[tensor.range.clone()])?;
        }
        adapter.fill_rows(base)?;
        Ok(adapter)
    }

    fn fill_factors(&mut self, seed: u64) {
        let Self {
            modules,
            params,
            config,
            ..
        } = self;
        for module in modules.iter() {
            let mut rng = Generator::named("lora init", seed, &module.path);
            let root = |n: usize| 1.0 / (n as f32).sqrt();
            // To PEFT the factors of all experts are two linear layers.
            let ranks = module.rank * module.experts().unwrap_or(1);
            let (in_bound, rank_bound) = (root(module.in_features), root(ranks));
            let (a, b) = (module.a.clone(), module.b.clone());
            match (&config.init, module.is_embedding()) {
                (Init::Linear, true) => {
                    rng.normal(1.0, &mut params[a]);
                    rng.normal(1.0, &mut params[b]);
                }
                (_, true) => rng.normal(1.0, &mut params[b]),
                (Init::Gaussian, false) => rng.normal(1.0 / module.rank as f32, &mut params[a]),
                (Init::Linear, false) => {
                    rng.uniform(in_bound, &mut params[a]);
                    rng.uniform(rank_bound, &mut params[b]);
                    module
                        .lora_bias
                        .iter()
                        .for_each(|bias| rng.uniform(rank_bound, &mut params[bias.clone()]));
                }
                (_, false) => rng.uniform(in_bound, &mut params[a]),
            }
        }
    }

    /// DoRA: the magnitudes are the norms of W + s·B·A at initialisation.
    fn fill_magnitudes(&mut self, base: &impl BaseModel) -> Result<(), Error> {
        for index in 0..self.modules.len() {
            let module = &self.modules[index];
            let Some(magnitude) = module.magnitude.clone() else {
                continue;
            };
            let norms = weight_norms(
                base,
                module,
                self.factors(index),
                self.origin_factors(index),
            )?;
            self.params[magnitude].copy_from_slice(&norms);
        }
        Ok(())
    }

    /// Rows of the vocabulary begin as the base's.
    fn fill_rows(&mut self, base: &impl BaseModel) -> Result<(), Error> {
        for own in &self.rows {
            let tensor = format!("{}.weight", own.paths[0]);
            let values = self.params[own.range.clone()].chunks_exact_mut(own.width.max(1));
            for (&row, values) in own.rows.iter().zip(values) {
                base.read(&tensor, row * own.width, values)?;
            }
        }
        Ok(())
    }

    /// PiSSA and OLoRA: A and B from the base's weights, which then lack s·B·A; `origin` remembers it.
    pub(crate) fn decompose(&mut self, base: &impl BaseModel) -> Result<(), Error> {
        let (init, modules) = (self.config.init.clone(), &self.modules);
        let mut origin = zeros(self.params.len())?;
        // A few at a time: each holds its weight and a square matrix.
        for group in modules.chunks(rayon::current_num_threads().max(1)) {
            let mut weights = Vec::with_capacity(group.len());
            for module in group {
                weights.push(if module.is_embedding() {
                    Vec::new()
                } else {
                    whole_weight(base, module)?
                });
            }
            let found: Vec<_> = group
                .par_iter()
                .zip(weights)
                .map(|(m, w)| factors_of(&init, m, w))
                .collect();
            for (module, factors) in group.iter().zip(found) {
                let (a, b) = factors?;
                origin[module.a.clone()].copy_from_slice(&a);
                origin[module.b.clone()].copy_from_slice(&b);
            }
        }
        for module in modules.iter().filter(|m| !m.is_embedding()) {
            for range in [module.a.clone(), module.b.clone()] {
                self.params[range.clone()].copy_from_slice(&origin[range]);
            }
        }
        self.origin = Some(origin);
        Ok(())
    }
}

/// A and B of one module; of an embedding, which PEFT leaves whole, zeros.
fn factors_of(
    init: &Init,
    module: &TargetedModule,
    weight: Vec<f32>,
) -> Result<(Vec<f32>, Vec<f32>), Error> {
    let (out, inn, rank) = (module.out_features, module.in_features, module.rank);
    if module.is_embedding() {
        return Ok((vec![0.0; module.a.len()], vec![0.0; module.b.len()]));
    }
    if rank > out.min(inn) {
        return Err(Error::config(format!(
            "{}: init_lora_weights {} gives no more than {} directions, rank {rank} asks for more",
            module.path,
            init.value(),
            out.min(inn)
        )));
    }
    Ok(match init {
        Init::Olora => olora(&weight, out, inn, rank),
        _ => pissa(&weight, out, inn, rank, module.scaling),
    })
}

fn whole_weight(base: &impl BaseModel, module: &TargetedModule) -> Result<Vec<f32>, Error> {
    let mut weight = zeros(module.in_features * module.out_features)?;
    base.read(&format!("{}.weight", module.path), 0, &mut weight)?;
    Ok(weight)
}
