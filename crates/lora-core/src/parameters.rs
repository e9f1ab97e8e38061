//! `target_parameters`: LoRA on parameters of a mixture of experts, PEFT's `ParamWrapper`: which it means, what they are called
//! in an adapter's file, and how the file holds the factors of all experts.
use crate::layout::{AdapterTensor, TargetedModule};
use crate::targets::is_suffix;
use crate::{Error, Fault, Init, LoraConfig, Module, ModuleKind};
use std::borrow::Cow;
use std::str::FromStr;

/// What a person asks for: words that only a model can turn into names, and names as PEFT takes them.
///
/// In PEFT's file a parameter is called by its module, `mlp.experts.lora_A.weight`, without its own name. Where two of one
/// module carry LoRA the first is within the second: `mlp.experts.base_layer.lora_A.weight` is then `gate_up_proj`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(Vec<String>);

/// The word for all experts' matrices, and that for the routers'.
const WORDS: [&str; 2] = ["experts", "router"];

impl FromStr for Parameters {
    type Err = Error;

    /// Reads a comma-separated list of `experts`, `router`, and names.
    fn from_str(text: &str) -> Result<Self, Error> {
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Error::config(
                Fault::new("no target parameters given")
                    .hint("experts and router are those of a mixture of experts"),
            ));
        }
        Ok(Self(names))
    }
}

impl Parameters {
    /// PEFT's value for a model: the words become names of its parameters, each once, from the module that holds them on.
    ///
    /// # Errors
    /// If the model has no parameter of a word.
    pub fn resolve(&self, modules: &[Module]) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        for own in &self.0 {
            let found = match WORDS.contains(&own.as_str()) {
                true => of_word(own, modules),
                false => vec![own.clone()],
            };
            if found.is_empty() {
                return Err(absent(own, modules));
            }
            names.extend(found);
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }
}

/// The names that a word stands for.
fn of_word(word: &str, modules: &[Module]) -> Vec<String> {
    let means = |module: &&Module| match module.kind {
        ModuleKind::Experts { .. } => word == WORDS[0],
        ModuleKind::Router => word == WORDS[1],
        _ => false,
    };
    let mut names: Vec<String> = modules.iter().filter(means).map(short).collect();
    names.sort();
    names.dedup();
    names
}

/// A parameter's path without what stands before its layer's own modules: `mlp.experts.gate_up_proj`.
fn short(module: &Module) -> String {
    let path = module.path.as_str();
    let number = |piece: &str| piece.parse::<usize>().is_ok();
    let mut pieces = path.split('.');
    match pieces.any(number) {
        true => pieces.collect::<Vec<_>>().join("."),
        false => path.to_owned(),
    }
}

/// Whether `target_parameters` means this parameter (PEFT's `_inject_parameters`: the path, or its end after a dot).
pub(crate) fn means(config: &LoraConfig, path: &str) -> bool {
    let named = config.target_parameters.iter().flatten();
    named.into_iter().any(|name| is_suffix(name, path))
}

/// Entries that mean no parameter of a mixture.
pub(crate) fn unmatched(config: &LoraConfig, modules: &[Module]) -> Vec<String> {
    let is_there = |name: &&String| {
        let mut own = modules.iter().filter(|m| m.is_of_mixture());
        own.any(|m| is_suffix(name, &m.path))
    };
    let named = config.target_parameters.iter().flatten();
    named.filter(|name| !is_there(name)).cloned().collect()
}

/// Why a name is refused that no parameter of a mixture has.
pub(crate) fn absent(name: &str, modules: &[Module]) -> Error {
    let of_linear = modules.iter().find(|m| {
        let weight = format!("{}.weight", m.path);
        (m.is_linear() || m.kind == ModuleKind::Parameter) && is_suffix(name, &weight)
    });
    if let Some(module) = of_linear {
        let what = format!(
            "target parameter `{name}` means {}.weight, which is a linear layer's",
            module.path
        );
        let hint = format!("name it in target_modules (--targets {})", module.name());
        return Error::config(Fault::new(what).hint(hint));
    }
    let holder = name.rsplit_once('.').map_or(name, |(holder, _)| holder);
    let mut frozen = modules
        .iter()
        .filter(|m| matches!(m.kind, ModuleKind::Frozen { .. }));
    let stays = |m: &&Module| is_suffix(name, &m.path) || is_suffix(holder, &m.path);
    if let Some(module) = frozen.find(stays) {
        let what = format!(
            "target parameter `{name}` is of {}, whose weights can't carry LoRA here",
            module.path
        );
        let hint = "name linear layers in target_modules (--targets)";
        return Error::config(Fault::new(what).hint(hint));
    }
    let own: std::collections::BTreeSet<String> = modules
        .iter()
        .filter(|m| m.is_of_mixture())
        .map(short)
        .collect();
    let hint = match own.is_empty() {
        true => "it has no experts: name linear layers in target_modules (--targets)".to_owned(),
        false => format!(
            "its parameters are {}",
            own.into_iter().collect::<Vec<_>>().join(", ")
        ),
    };
    Error::config(Fault::new(format!("target parameter `{name}` is not in this model")).hint(hint))
}

/// Gives the parameters among an adapter's modules their names in PEFT's file.
pub(crate) fn name(modules: &mut [TargetedModule]) {
    let holder = |m: &TargetedModule| m.path.rsplit_once('.').map(|(holder, _)| holder.to_owned());
    for index in 0..modules.len() {
        let is_of_mixture = modules[index].is_of_mixture();
        let Some(own) = holder(&modules[index]).filter(|_| is_of_mixture) else {
            continue;
        };
        let mut later = modules[index + 1..]
            .iter()
            .filter(|m| m.experts().is_some());
        let is_within = later.any(|m| holder(m).as_ref() == Some(&own));
        modules[index].name = match is_within {
            true => format!("{own}.base_layer"),
            false => own,
        };
    }
}

impl LoraConfig {
    /// Whether it means parameters of a mixture.
    pub fn targets_parameters(&self) -> bool {
        self.target_parameters
            .as_ref()
            .is_some_and(|all| !all.is_empty())
    }

    /// What is targeted, modules and parameters, as people read it.
    pub fn targets_line(&self) -> String {
        let modules = Some(self.target_modules.to_string()).filter(|line| !line.is_empty());
        let parameters = self.target_parameters.iter().flatten().cloned();
        let all: Vec<String> = modules.into_iter().chain(parameters).collect();
        all.join(",")
    }

    /// What PEFT's `ParamWrapper` refuses: there is no input of its own to drop, and what it wraps has no weight of its own.
    pub(crate) fn check_parameters(&self) -> Result<(), Fault> {
        if !self.targets_parameters() {
            return Ok(());
        }
        if self.lora_dropout > 0.0 {
            return Err(Fault::new(format!(
                "target_parameters does not go with lora_dropout {}: PEFT has no dropout on parameters",
                self.lora_dropout
            ))
            .hint("--dropout 0"));
        }
        for (option, given) in [("use_dora", self.use_dora), ("lora_bias", self.lora_bias)] {
            if given {
                return Err(Fault::new(format!(
                    "target_parameters does not go with {option}, as in PEFT"
                )));
            }
        }
        let begins_by_itself = match &self.init {
            Init::Kaiming | Init::Gaussian | Init::Linear => true,
            Init::Other(word) => word == "eva",
            Init::Pissa(_) | Init::Olora => false,
        };
        match begins_by_itself {
            true => Ok(()),
            false => Err(Fault::new(format!(
                "target_parameters does not go with init_lora_weights {}, as in PEFT",
                self.init.value()
            ))),
        }
    }
}

impl AdapterTensor {
    /// The values as the file holds them: B (out, rank·experts), expert e's column j at j·experts + e (PEFT's
    /// `get_delta_weight`: "o r e, e r i -> e o i"), rows in the order of the parameter's outputs.
    pub fn to_file<'v>(&self, values: &'v [f32]) -> Cow<'v, [f32]> {
        let Some(stack) = self.stack() else {
            return Cow::Borrowed(values);
        };
        let mut all = Vec::with_capacity(values.len());
        for row in 0..stack.out {
            let row = stack.row_of(row);
            for column in 0..stack.rank {
                let of = |e| values[(e * stack.out + row) * stack.rank + column];
                all.extend((0..stack.experts).map(of));
            }
        }
        Cow::Owned(all)
    }

    /// The values of a file as the flat parameters hold them, if that is another way.
    pub fn from_file(&self, values: &[f32]) -> Option<Vec<f32>> {
        let stack = self.stack()?;
        let Stack { experts, rank, .. } = stack;
        let mut all = vec![0.0; values.len()];
        for expert in 0..experts {
            for row in 0..stack.out {
                let own = (0..rank).map(|j| values[(row * rank + j) * experts + expert]);
                let at = (expert * stack.out + stack.row_of(row)) * rank;
                all[at..at + rank]
                    .iter_mut()
                    .zip(own)
                    .for_each(|(to, value)| *to = value);
            }
        }
        Some(all)
    }

    /// Of the B of experts.
    fn stack(&self) -> Option<Stack> {
        let (own, &[out, ranks]) = (self.experts?, self.shape.as_slice()) else {
            return None;
        };
        Some(Stack {
            experts: own.count,
            out,
            rank: ranks / own.count.max(1),
            alternating: own.alternating,
        })
    }
}

/// The B of experts.
#[derive(Debug, Clone, Copy)]
struct Stack {
    experts: usize,
    /// Rows of one.
    out: usize,
    rank: usize,
    /// Whether gate's rows and up's alternate in the file.
    alternating: bool,
}

impl Stack {
    /// The row in the flat parameters of one of the file.
    fn row_of(self, row: usize) -> usize {
        match self.alternating {
            true => row % 2 * (self.out / 2) + row / 2,
            false => row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{ExpertsInFile, Part};

    #[test]
    fn file_and_memory_are_each_other_s_inverse() {
        let (experts, out, rank) = (3, 4, 2);
        let tensor = AdapterTensor {
            name: String::new(),
            part: Part::B,
            shape: vec![out, rank * experts],
            range: 0..24,
            experts: Some(ExpertsInFile {
                count: experts,
                alternating: false,
            }),
        };
        let values: Vec<f32> = (0..24u8).map(f32::from).collect();
        let file = tensor.to_file(&values);
        // Expert 2's B[3, 1] is in row 3, column 1·3 + 2.
        assert_eq!(
            file[3 * rank * experts + 3 + 2],
            values[(2 * out + 3) * rank + 1]
        );
        assert_eq!(tensor.from_file(&file).as_deref(), Some(&values[..]));
        let turned = AdapterTensor {
            experts: Some(ExpertsInFile {
                count: experts,
                alternating: true,
            }),
            ..tensor
        };
        let file = turned.to_file(&values);
        // Its row 3 is up's second, the last of four; row 2 is gate's second.
        for (row, own) in [(0, 0), (1, 2), (2, 1), (3, 3)] {
            assert_eq!(
                file[row * rank * experts + 3 + 2],
                values[(2 * out + own) * rank + 1]
            );
        }
        assert_eq!(turned.from_file(&file).as_deref(), Some(&values[..]));
    }
}
