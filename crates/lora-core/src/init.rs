//! How an adapter begins: PEFT's `init_lora_weights`, DoRA's magnitudes, and copies of the base's tensors.
use crate::adapter::{Adapter, generator, zeros};
use crate::decompose::{olora, pissa};
use crate::layout::TargetedModule;
use crate::module::short_name;
use crate::{BaseModel, Error, LoraConfig, TargetModules, weight_norms};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// PEFT's `init_lora_weights`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// A ~ U(−1/√in, 1/√in) (Kaiming with a = √5), B = 0; of an embedding A = 0, B ~ N(0, 1). PEFT's `true`.
    Kaiming,
    /// A ~ N(0, 1/r²), B = 0; embeddings as above.
    Gaussian,
    /// Both as torch's Linear begins, of an embedding both N(0, 1): not the identity. PEFT's `false`.
    Linear,
    /// The principal singular vectors of W, taken out of the base (Meng et al. 2024). The number is PEFT's `niter`, which
    /// asks for a quick decomposition; the exact one is computed here.
    Pissa(Option<usize>),
    /// The first columns of W's QR decomposition, taken out of the base (Büyükakyüz 2024).
    Olora,
    /// Any other beginning that leaves the base as it is. Only a loaded adapter can have it.
    Other(String),
}

/// Beginnings that need data or more options, and leave nothing behind but A and B.
const OTHER: [&str; 2] = ["orthogonal", "eva"];

impl Init {
    /// Reads PEFT's value; None for a beginning that can't be honoured.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null | Value::Bool(true) => Some(Self::Kaiming),
            Value::Bool(false) => Some(Self::Linear),
            Value::String(word) => Self::named(word).or_else(|| {
                OTHER
                    .contains(&word.as_str())
                    .then(|| Self::Other(word.clone()))
            }),
            _ => None,
        }
    }

    /// The beginning of a word that a person writes: kaiming, gaussian, false, pissa, pissa_niter_N, olora.
    pub fn named(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "kaiming" | "true" => Some(Self::Kaiming),
            "gaussian" => Some(Self::Gaussian),
            "false" => Some(Self::Linear),
            "pissa" => Some(Self::Pissa(None)),
            "olora" => Some(Self::Olora),
            other => other
                .strip_prefix("pissa_niter_")?
                .parse()
                .ok()
                .map(|n| Self::Pissa(Some(n))),
        }
    }

    /// PEFT's value.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Kaiming => json!(true),
            Self::Gaussian => json!("gaussian"),
            Self::Linear => json!(false),
            Self::Pissa(None) => json!("pissa"),
            Self::Pissa(Some(n)) => json!(format!("pissa_niter_{n}")),
            Self::Olora => json!("olora"),
            Self::Other(word) => json!(word),
        }
    }

    /// True if s·B·A is taken out of the base at the beginning.
    pub fn changes_base(&self) -> bool {
        matches!(self, Self::Pissa(_) | Self::Olora)
    }
}

impl Adapter {
    /// A new adapter on a base, from generators keyed by (seed, module path). `all-linear` becomes the list of the names that
    /// it found, as in PEFT.
    ///
    /// # Errors
    /// If the config can't be honoured on this model, memory is short, or a weight that the beginning needs can't be read.
    pub fn init(mut config: LoraConfig, base: &impl BaseModel, seed: u64) -> Result<Self, Error> {
        if let Init::Other(word) = &config.init {
            return Err(Error::config(format!(
                "init_lora_weights \"{word}\" is not supported for a new adapter"
            )));
        }
        let layout = config.layout(&base.modules())?;
        if config.target_modules == TargetModules::AllLinear {
            let names: BTreeSet<&str> =
                layout.modules.iter().map(|m| short_name(&m.path)).collect();
            config.target_modules =
                TargetModules::List(names.into_iter().map(str::to_string).collect());
        }
        let params = zeros(layout.parameters())?;
        let mut adapter = Self {
            config,
            modules: layout.modules,
            trained: layout.trained,
            params,
            origin: None,
        };
        adapter.fill_factors(seed);
        if adapter.config.init.changes_base() {
            adapter.decompose(base)?;
        }
        adapter.fill_magnitudes(base)?;
        for tensor in &adapter.trained {
            base.read(&tensor.tensor, 0, &mut adapter.params[tensor.range.clone()])?;
        }
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
            let mut rng = generator("lora init", seed, &module.path);
            let root = |n: usize| 1.0 / (n as f32).sqrt();
            let (in_bound, rank_bound) = (root(module.in_features), root(module.rank));
            let (a, b) = (module.a.clone(), module.b.clone());
            match (&config.init, module.is_embedding()) {
                (Init::Linear, true) => {
                    normal(&mut rng, 1.0, &mut params[a]);
                    normal(&mut rng, 1.0, &mut params[b]);
                }
                (_, true) => normal(&mut rng, 1.0, &mut params[b]),
                (Init::Gaussian, false) => {
                    normal(&mut rng, 1.0 / module.rank as f32, &mut params[a])
                }
                (Init::Linear, false) => {
                    uniform(&mut rng, in_bound, &mut params[a]);
                    uniform(&mut rng, rank_bound, &mut params[b]);
                    module
                        .lora_bias
                        .iter()
                        .for_each(|bias| uniform(&mut rng, rank_bound, &mut params[bias.clone()]));
                }
                (_, false) => uniform(&mut rng, in_bound, &mut params[a]),
            }
        }
    }

    /// DoRA: the magnitudes are the norms of W + s·B·A at the beginning.
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

fn uniform(rng: &mut ChaCha8Rng, bound: f32, out: &mut [f32]) {
    for value in out {
        let unit = (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32; // [0, 1), every value exact
        *value = (2.0 * unit - 1.0) * bound;
    }
}

/// N(0, deviation²) by Box and Muller.
fn normal(rng: &mut ChaCha8Rng, deviation: f32, out: &mut [f32]) {
    let mut unit = || (f64::from(rng.next_u32() >> 8) + 0.5) / f64::from(1u32 << 24); // inside (0, 1)
    for pair in out.chunks_mut(2) {
        let (radius, angle) = ((-2.0 * unit().ln()).sqrt(), std::f64::consts::TAU * unit());
        for (value, part) in pair.iter_mut().zip([angle.cos(), angle.sin()]) {
            *value = deviation * (radius * part) as f32;
        }
    }
}
