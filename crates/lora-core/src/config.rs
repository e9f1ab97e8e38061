//! [`LoraConfig`]: PEFT's LoraConfig, and which of its options go together. Its file is in `config_json`.
use crate::targets::ModuleNames;
use crate::{Bias, Error, Fault, Init, Pattern, TargetModules, TokenIndices, keys};
use serde_json::{Map, Value};

/// PEFT's LoraConfig: the keys honoured here; the rest is carried in `extra`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank r.
    pub r: usize,
    /// α.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    pub lora_dropout: f64,
    /// Scaling α/√r in place of α/r.
    pub use_rslora: bool,
    /// DoRA: a trained magnitude for each output (Liu et al. 2024).
    pub use_dora: bool,
    /// A bias on B.
    pub lora_bias: bool,
    /// Which biases of the base train.
    pub bias: Bias,
    /// Which modules carry an adapter.
    pub target_modules: TargetModules,
    /// Parameters of mixtures of experts that carry one, each by its path or the end of it; PEFT writes none as null or as an
    /// empty list.
    pub target_parameters: Option<Vec<String>>,
    /// Which don't, though targeted.
    pub exclude_modules: Option<ModuleNames>,
    /// Layers whose modules are targeted; all if empty.
    pub layers_to_transform: Vec<usize>,
    /// Names before the layer's number; any if empty.
    pub layers_pattern: Vec<String>,
    /// Ranks of single modules.
    pub rank_pattern: Pattern<usize>,
    /// α of single modules.
    pub alpha_pattern: Pattern<f64>,
    /// Modules that train as a whole.
    pub modules_to_save: Vec<String>,
    /// Tokens whose rows of the vocabulary train.
    pub trainable_token_indices: TokenIndices,
    /// How A and B begin.
    pub init: Init,
    /// One adapter for a tied embedding and head.
    pub ensure_weight_tying: bool,
    /// `base_model_name_or_path`.
    pub base_model_name_or_path: Option<String>,
    /// Keys of a loaded adapter_config.json that are not honoured here and not active, carried as they are.
    pub extra: Map<String, Value>,
}

impl LoraConfig {
    /// Standard LoRA with PEFT's other defaults.
    pub fn new(r: usize, lora_alpha: f64, target_modules: TargetModules) -> Self {
        Self {
            r,
            lora_alpha,
            lora_dropout: 0.0,
            use_rslora: false,
            use_dora: false,
            lora_bias: false,
            bias: Bias::None,
            target_modules,
            target_parameters: None,
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            rank_pattern: Pattern::default(),
            alpha_pattern: Pattern::default(),
            modules_to_save: Vec::new(),
            trainable_token_indices: TokenIndices::None,
            init: Init::Kaiming,
            ensure_weight_tying: false,
            base_model_name_or_path: None,
            extra: Map::new(),
        }
    }

    /// s for a rank: α/r, or α/√r with rsLoRA. (Single modules may have another α: see [`Self::layout`].)
    pub fn scaling(&self, rank: usize) -> f32 {
        self.scaling_of(rank, self.lora_alpha)
    }

    pub(crate) fn scaling_of(&self, rank: usize, alpha: f64) -> f32 {
        let rank = rank as f64;
        (alpha / if self.use_rslora { rank.sqrt() } else { rank }) as f32
    }

    /// Checks the values that a caller may have set freely, and refuses what PEFT refuses.
    ///
    /// # Errors
    /// Names the option and the reason.
    pub fn validate(&self) -> Result<(), Error> {
        self.check().map_err(Error::config)
    }

    /// One line for each key that is unknown here and was carried.
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self
            .extra
            .iter()
            .filter(|(key, _)| keys::role(key).is_none());
        unknown
            .map(|(key, value)| format!("unknown key `{key}: {value}` is kept but has no effect"))
            .collect()
    }

    pub(crate) fn check(&self) -> Result<(), Fault> {
        let (ranks, alphas) = (&self.rank_pattern.0, &self.alpha_pattern.0);
        if self.r == 0 {
            return Err(Fault::new("rank r must be at least 1, not 0"));
        }
        if let Some((key, _)) = ranks.iter().find(|(_, rank)| *rank == 0) {
            return Err(Fault::new(format!(
                "rank_pattern `{key}`: a rank must be at least 1, not 0"
            )));
        }
        let alphas = alphas
            .iter()
            .map(|(key, alpha)| (format!("alpha_pattern `{key}`"), *alpha));
        for (option, alpha) in [("lora_alpha".to_string(), self.lora_alpha)]
            .into_iter()
            .chain(alphas)
        {
            if !alpha.is_finite() {
                return Err(Fault::new(format!(
                    "{option} must be a finite number, not {alpha}"
                )));
            }
        }
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return Err(Fault::new(format!(
                "lora_dropout must lie in [0, 1), not {}",
                self.lora_dropout
            )));
        }
        self.check_layers()?;
        self.check_parameters()?;
        self.check_combinations()
    }

    fn check_layers(&self) -> Result<(), Fault> {
        let is_list = matches!(self.target_modules, TargetModules::List(_));
        for (option, given) in [
            ("layers_to_transform", !self.layers_to_transform.is_empty()),
            ("layers_pattern", !self.layers_pattern.is_empty()),
        ] {
            if given && !is_list {
                return Err(needs_a_list(option, &self.target_modules));
            }
        }
        if !self.layers_pattern.is_empty() && self.layers_to_transform.is_empty() {
            return Err(Fault::new(
                "layers_pattern needs layers_to_transform: it only says where the layer's number stands",
            ));
        }
        Ok(())
    }

    fn check_combinations(&self) -> Result<(), Fault> {
        if self.lora_bias && self.use_dora {
            return Err(Fault::new(
                "lora_bias does not go with use_dora: DoRA's norm knows no bias",
            ));
        }
        if self.lora_bias && !matches!(self.init, Init::Kaiming | Init::Linear) {
            let init = self.init.value();
            return Err(Fault::new(format!(
                "lora_bias needs init_lora_weights true or false, not {init}"
            )));
        }
        Ok(())
    }
}

/// Why an option of single layers is refused beside an expression.
pub(crate) fn needs_a_list(option: &str, targets: &TargetModules) -> Fault {
    Fault::new(format!(
        "{option} needs a list of target modules, not `{targets}`"
    ))
    .hint("name the modules, e.g. q_proj,v_proj, or write the layers into the pattern")
}
