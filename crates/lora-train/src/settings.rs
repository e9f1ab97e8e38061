//! What the flags come to for the libraries: settings of a run, of an adapter.
use crate::adapter_flags;
use crate::args::Args;
use lora_cli::Result;
use lora_core::{LoraConfig, Parameters, TargetModules, Targets};
use lora_training::{Batching, Length, TrainConfig};
use std::str::FromStr as _;

impl Args {
    /// The config of a new adapter, after [`Args::resolve`].
    pub(crate) fn lora_config(&self, targets: TargetModules) -> Result<LoraConfig> {
        let rank = self.rank.unwrap_or(16);
        let mut config = LoraConfig::new(rank, self.alpha.unwrap_or(rank as f64), targets);
        config.use_rslora = self.rslora;
        adapter_flags::apply(&self.lora, &mut config)?;
        Ok(config)
    }

    /// The settings of the run, whatever trains, after [`Args::resolve`].
    pub(crate) fn train_config(&self) -> TrainConfig {
        let length = match self.steps {
            Some(n) => Length::Steps(n as u64),
            None => Length::Epochs(self.epochs.unwrap_or(3.0)),
        };
        TrainConfig {
            length,
            batching: Batching {
                examples: self.batch,
                tokens: self.batch_tokens,
                accumulation: self.accumulation,
                by_length: self.group_by_length,
            },
            lr: self.lr,
            schedule: self.schedule.into(),
            warmup: self.warmup,
            weight_decay: self.weight_decay,
            clip: self.clip,
            router_aux_loss_coef: self.router_aux_loss_coef.unwrap_or(0.0),
            seed: self.seed,
            eval_every: self.eval_every.map(|n| n as u64),
            patience: self.patience,
        }
    }

    /// `--targets`, which only the base can turn into names of modules.
    pub(crate) fn targets(&self) -> Result<Targets> {
        Ok(Targets::from_str(&self.targets.join(","))?)
    }

    /// `--target-parameters`, whose words only the base can turn into names.
    pub(crate) fn target_parameters(&self) -> Result<Option<Parameters>> {
        let given = !self.target_parameters.is_empty();
        let text = self.target_parameters.join(",");
        Ok(given.then(|| text.parse()).transpose()?)
    }

    /// Threads to use, after [`Args::resolve`].
    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or(1)
    }
}
