//! [`Layout`]: what an adapter trains, where each tensor lies in the flat parameters, and what it is called in a file.
use crate::{Error, Init, LoraConfig, Module, ModuleKind, select};
use std::ops::Range;

const PREFIX: &str = "base_model.model.";

/// A module that carries LoRA, and where its parts lie in the flat parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetedModule {
    /// Module path.
    pub path: String,
    /// Linear or embedding.
    pub kind: ModuleKind,
    /// Columns of A: input features, of an embedding its vocabulary.
    pub in_features: usize,
    /// Rows of B: output features.
    pub out_features: usize,
    /// Rows of A, columns of B.
    pub rank: usize,
    /// s = α/r or α/√r.
    pub scaling: f32,
    /// A, (rank, in) row-major.
    pub a: Range<usize>,
    /// B, (out, rank) row-major.
    pub b: Range<usize>,
    /// Bias on B, (out): PEFT's `lora_bias`.
    pub lora_bias: Option<Range<usize>>,
    /// DoRA's magnitude, (out).
    pub magnitude: Option<Range<usize>>,
}

/// A tensor of the base that trains as a whole and stands in its place: of a module to save, or a bias.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedTensor {
    /// Its name in the base, e.g. `lm_head.weight`.
    pub tensor: String,
    /// Its name in the adapter's file.
    pub name: String,
    /// Weight or bias.
    pub part: Part,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place in the flat parameters.
    pub range: Range<usize>,
    /// True where PEFT trains the base's own tensor (a bias), not a copy: it is no additional parameter.
    pub in_base: bool,
}

/// What a tensor of an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// LoRA's A.
    A,
    /// LoRA's B.
    B,
    /// Bias on B.
    LoraBias,
    /// DoRA's magnitude.
    Magnitude,
    /// A weight of the base.
    Weight,
    /// A bias of the base.
    Bias,
}

/// A tensor of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterTensor {
    /// PEFT's name, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place in the flat parameters.
    pub range: Range<usize>,
}

/// Everything that an adapter trains on a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Modules that carry LoRA, in model order.
    pub modules: Vec<TargetedModule>,
    /// Tensors that train as a whole, in model order.
    pub trained: Vec<TrainedTensor>,
}

impl Layout {
    /// Trainable parameters.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.range.len()).sum()
    }

    /// Those that PEFT adds to the model: all but the base's own biases.
    pub fn added_parameters(&self) -> usize {
        let own: usize = self
            .trained
            .iter()
            .filter(|t| t.in_base)
            .map(|t| t.range.len())
            .sum();
        self.parameters() - own
    }

    /// All tensors, in the order of the flat parameters.
    pub fn tensors(&self) -> Vec<AdapterTensor> {
        tensors(&self.modules, &self.trained)
    }
}

/// All tensors of an adapter, in the order of the flat parameters.
pub(crate) fn tensors(modules: &[TargetedModule], trained: &[TrainedTensor]) -> Vec<AdapterTensor> {
    let mut all: Vec<AdapterTensor> = modules.iter().flat_map(TargetedModule::tensors).collect();
    all.extend(trained.iter().map(|t| AdapterTensor {
        name: t.name.clone(),
        part: t.part,
        shape: t.shape.clone(),
        range: t.range.clone(),
    }));
    all
}

impl TargetedModule {
    /// PEFT's name of A's tensor, e.g. `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub fn a_name(&self) -> String {
        self.part_name(Part::A)
    }

    /// PEFT's name of B's tensor.
    pub fn b_name(&self) -> String {
        self.part_name(Part::B)
    }

    /// True if the module is an embedding.
    pub fn is_embedding(&self) -> bool {
        self.kind == ModuleKind::Embedding
    }

    /// Shape of the base's weight, (rows, columns).
    pub fn weight_shape(&self) -> [usize; 2] {
        if self.is_embedding() {
            [self.in_features, self.out_features]
        } else {
            [self.out_features, self.in_features]
        }
    }

    fn part_name(&self, part: Part) -> String {
        let suffix = match (part, self.is_embedding()) {
            (Part::A, false) => "lora_A.weight",
            (Part::B, false) => "lora_B.weight",
            (Part::A, true) => "lora_embedding_A",
            (Part::B, true) => "lora_embedding_B",
            (Part::LoraBias, _) => "lora_B.bias",
            (Part::Magnitude, _) => "lora_magnitude_vector",
            (Part::Weight, _) => "base_layer.weight",
            (Part::Bias, _) => "base_layer.bias",
        };
        format!("{PREFIX}{}.{suffix}", self.path)
    }

    /// Name of the copy of the base's weight that PEFT also writes for a targeted embedding or head.
    pub(crate) fn copied_weight_name(&self) -> String {
        self.part_name(Part::Weight)
    }

    /// Its tensors, in the order of the flat parameters.
    pub fn tensors(&self) -> Vec<AdapterTensor> {
        let tensor = |part, shape: &[usize], range: &Range<usize>| AdapterTensor {
            name: self.part_name(part),
            part,
            shape: shape.to_vec(),
            range: range.clone(),
        };
        let mut all = vec![
            tensor(Part::A, &[self.rank, self.in_features], &self.a),
            tensor(Part::B, &[self.out_features, self.rank], &self.b),
        ];
        all.extend(
            self.lora_bias
                .iter()
                .map(|range| tensor(Part::LoraBias, &[self.out_features], range)),
        );
        all.extend(
            self.magnitude
                .iter()
                .map(|range| tensor(Part::Magnitude, &[self.out_features], range)),
        );
        all
    }
}

impl LoraConfig {
    /// What the config trains on a model. A target that matches nothing is an error that lists the model's modules.
    ///
    /// # Errors
    /// If the config is not sound, or can't be honoured on this model.
    pub fn layout(&self, modules: &[Module]) -> Result<Layout, Error> {
        let (layout, unmatched) = self.layout_leniently(modules)?;
        match unmatched.first() {
            None => Ok(layout),
            Some(name) => {
                Err(
                    Error::config(format!("target module `{name}` is not in this model")).hint(
                        format!("its modules are {}", crate::module::short_names(modules)),
                    ),
                )
            }
        }
    }

    /// One line for each option that has no effect on this model.
    ///
    /// # Errors
    /// As for [`Self::layout`].
    pub fn notes(&self, modules: &[Module]) -> Result<Vec<String>, Error> {
        Ok(select::select(self, modules)?.notes)
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
        };
        for &i in &found.targeted {
            layout.modules.push(place.targeted(&modules[i])?);
        }
        for (i, module) in modules.iter().enumerate() {
            let (saved, targeted) = (found.saved.contains(&i), found.targeted.contains(&i));
            place.trained(module, saved, targeted, &mut layout.trained)?;
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
                "ensure_weight_tying is not supported where embedding or head train on a model that ties them").hint("without \
                 it each side trains its own, and a merge writes both"));
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
        let a = self.take(path, rank, module.in_features)?;
        let b = self.take(path, rank, module.out_features)?;
        let lora_bias = config
            .lora_bias
            .then(|| self.take(path, 1, module.out_features))
            .transpose()?;
        let magnitude = config
            .use_dora
            .then(|| self.take(path, 1, module.out_features))
            .transpose()?;
        Ok(TargetedModule {
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

/// PEFT's `bias`: which biases of the base train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of targeted modules.
    LoraOnly,
}

impl Bias {
    /// PEFT's words.
    pub const WORDS: [(&str, Self); 3] = [
        ("none", Self::None),
        ("all", Self::All),
        ("lora_only", Self::LoraOnly),
    ];

    /// PEFT's word.
    pub fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, bias)| *bias == self)
            .map_or("none", |(word, _)| word)
    }

    /// The bias option of a word.
    pub fn named(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, bias)| *bias)
    }
}
