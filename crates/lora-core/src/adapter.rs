//! [`Adapter`]: all A and B of a model in one flat vector, and their initialisation.
use crate::targets::short_name;
use crate::{Error, LinearModule, LoraConfig, TargetModules};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ops::Range;

/// A module that carries an adapter, and where its A and B lie in the flat parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetedModule {
    /// Module path.
    pub path: String,
    /// Columns of W and of A.
    pub in_features: usize,
    /// Rows of W and of B.
    pub out_features: usize,
    /// Rows of A, columns of B.
    pub rank: usize,
    /// s = α/r or α/√r.
    pub scaling: f32,
    /// A, (rank, in) row-major, in the flat parameters.
    pub a: Range<usize>,
    /// B, (out, rank) row-major, in the flat parameters.
    pub b: Range<usize>,
}

impl TargetedModule {
    /// PEFT's name of A's tensor, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub fn a_name(&self) -> String {
        format!("base_model.model.{}.lora_A.weight", self.path)
    }

    /// PEFT's name of B's tensor.
    pub fn b_name(&self) -> String {
        format!("base_model.model.{}.lora_B.weight", self.path)
    }
}

/// An adapter: its config, its modules in model order, and all its values in one flat f32 vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Config.
    pub config: LoraConfig,
    /// Modules, in the order of the model's linear modules.
    pub modules: Vec<TargetedModule>,
    /// All A and B values; `modules` says where.
    pub params: Vec<f32>,
}

impl Adapter {
    /// A new adapter: A ~ U(−1/√in, 1/√in) (PEFT's Kaiming with a = √5) from a generator keyed by (seed, module path), B = 0.
    /// `all-linear` becomes the list of the names that it found, as in PEFT.
    pub fn init(mut config: LoraConfig, modules: &[LinearModule], seed: u64) -> Result<Self, Error> {
        if let Some(init) = config.extra.get("init_lora_weights").filter(|init| **init != Value::Bool(true)) {
            return Err(Error::Config(format!("init_lora_weights {init} is not supported for a new adapter")));
        }
        let targeted = config.target(modules)?;
        if config.target_modules == TargetModules::AllLinear {
            let names: BTreeSet<&str> = targeted.iter().map(|m| short_name(&m.path)).collect();
            config.target_modules = TargetModules::List(names.into_iter().map(str::to_string).collect());
        }
        let mut params = zeros(targeted.last().map_or(0, |m| m.b.end))?;
        for module in &targeted {
            let bound = 1.0 / (module.in_features as f32).sqrt();
            let mut rng = generator("lora init", seed, &module.path);
            for value in &mut params[module.a.clone()] {
                let unit = (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32; // [0, 1), every value exact
                *value = (2.0 * unit - 1.0) * bound;
            }
        }
        Ok(Self { config, modules: targeted, params })
    }

    /// All zeros on the modules that the config targets.
    pub(crate) fn zeroed(config: LoraConfig, modules: &[LinearModule]) -> Result<Self, Error> {
        let modules = config.target(modules)?;
        let params = zeros(modules.last().map_or(0, |m| m.b.end))?;
        Ok(Self { config, modules, params })
    }

    /// A and B of module `index`.
    ///
    /// # Panics
    /// If there is no such module.
    pub fn factors(&self, index: usize) -> (&[f32], &[f32]) {
        let module = &self.modules[index];
        (&self.params[module.a.clone()], &self.params[module.b.clone()])
    }

    /// The module at a path, if it carries an adapter.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.modules.iter().position(|m| m.path == path)
    }

    /// Trainable parameters.
    pub fn trainable_parameters(&self) -> usize {
        self.params.len()
    }
}

/// `n` zeros, or an error where memory can't hold them.
pub(crate) fn zeros(n: usize) -> Result<Vec<f32>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(n).map_err(|_| Error::Config(format!("no memory for {n} adapter parameters")))?;
    values.resize(n, 0.0);
    Ok(values)
}

/// The generator of one tensor's random values, for one purpose.
pub(crate) fn generator(purpose: &str, seed: u64, name: &str) -> ChaCha8Rng {
    let key =
        Sha256::new().chain_update(purpose).chain_update(b"\0").chain_update(seed.to_le_bytes()).chain_update(name);
    ChaCha8Rng::from_seed(key.finalize().into())
}
