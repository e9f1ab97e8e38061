//! The flat parameters of an adapter from PEFT's tensor file: every tensor used, every shape equal, every value finite.
use crate::Fault;
use crate::diagnosis::{Missing, Shapes, unexpected, wrong_shape};
use crate::layout::{AdapterTensor, PREFIX, Part};
use crate::tensor_names::TensorNames;
use crate::values::{widen, zeros};
use crate::{BaseModel, Bias, Error, Layout, LoraConfig, Module};
use safetensors::tensor::TensorView;
use std::collections::BTreeSet;
use std::path::Path;

/// An adapter's tensor file, and what it must fill.
pub(super) struct Fill<'f, B> {
    pub(super) path: &'f Path,
    pub(super) tensors: TensorNames<'f>,
    pub(super) modules: &'f [Module],
    pub(super) layout: &'f Layout,
    pub(super) config: &'f LoraConfig,
    pub(super) base: &'f B,
}

impl<B: BaseModel> Fill<'_, B> {
    /// The flat parameters, from a file that holds them all and nothing else.
    pub(super) fn params(&self, warnings: &mut Vec<String>) -> Result<Vec<f32>, Error> {
        let mut left: BTreeSet<&str> = self.tensors.names().collect();
        let wanted = self.layout.tensors();
        for tensor in &wanted {
            self.check(tensor)?;
            left.remove(tensor.name.as_str());
        }
        self.pass_over_copied_base(&mut left, warnings)?;
        self.pass_over_repeated_biases(&mut left, warnings)?;
        self.pass_over_repeated_rows(&mut left)?;
        self.pass_over_vocabulary(&mut left)?;
        if let Some(name) = left.first() {
            return Err(self.invalid(unexpected(name, self.config, self.modules)));
        }
        let mut params = zeros(self.layout.parameters())?;
        for tensor in wanted {
            let (name, view) = (&tensor.name, self.tensor(&tensor.name)?);
            widen(&view, &mut params[tensor.range.clone()])
                .map_err(|why| self.invalid(format!("tensor {name} {why}")))?;
            if let Some(own) = tensor.from_file(&params[tensor.range.clone()]) {
                params[tensor.range].copy_from_slice(&own);
            }
        }
        Ok(params)
    }

    /// A tensor must be there and have its shape.
    fn check(&self, wanted: &AdapterTensor) -> Result<(), Error> {
        let found = self.tensor(&wanted.name)?;
        match found.shape() == wanted.shape {
            true => Ok(()),
            false => {
                Err(self.wrong_shape(&wanted.name, wanted.part, (found.shape(), &wanted.shape)))
            }
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        self.tensors.get(name).ok_or_else(|| {
            let present: Vec<&str> = self.tensors.names().collect();
            let base = self.config.base_model_name_or_path.as_deref();
            let missing = Missing {
                name,
                present: &present,
                base,
            };
            self.invalid(missing.fault())
        })
    }

    pub(super) fn wrong_shape(
        &self,
        name: &str,
        part: Part,
        (found, needed): (&[usize], &[usize]),
    ) -> Error {
        let path = name.strip_prefix(PREFIX).unwrap_or(name);
        let of_module = |module: &&Module| {
            let rest = path.strip_prefix(module.path.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        let module = self.modules.iter().find(of_module);
        let shapes = Shapes {
            name,
            part,
            found,
            needed,
        };
        let base = self.config.base_model_name_or_path.as_deref();
        self.invalid(wrong_shape(&shapes, module, base))
    }

    /// A targeted head or embedding: PEFT also writes its base weights, which should be the base's own, or with PiSSA and OLoRA
    /// what they left of them.
    fn pass_over_copied_base(
        &self,
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        for module in &self.layout.modules {
            let tensor = format!("{}.weight", module.path);
            let tensor = (!self.config.init.changes_base()).then_some(tensor.as_str());
            self.pass_over_copy(
                &module.copied_weight_name(),
                tensor,
                &module.weight_shape(),
                left,
                warnings,
            )?;
        }
        Ok(())
    }

    /// A module to save that has a bias: with `bias` "all" PEFT also writes its wrapper's two, the trained one once more and
    /// the base's.
    fn pass_over_repeated_biases(
        &self,
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let saved = self
            .layout
            .trained
            .iter()
            .filter(|t| t.part == Part::Bias && !t.in_base);
        for trained in saved.filter(|_| self.config.bias == Bias::All) {
            let module = trained.name.strip_suffix(".bias").unwrap_or(&trained.name);
            let again = format!("{module}.modules_to_save.bias");
            if let Some(second) = self.tensors.get(&again) {
                let first = self.tensor(&trained.name)?;
                if (first.dtype(), first.shape(), first.data())
                    != (second.dtype(), second.shape(), second.data())
                {
                    return Err(self.invalid(format!(
                        "tensors {} and {again} are one bias and differ",
                        trained.name
                    )));
                }
                left.remove(again.as_str());
            }
            let original = format!("{module}.original_module.bias");
            self.pass_over_copy(
                &original,
                Some(&trained.tensor),
                &trained.shape,
                left,
                warnings,
            )?;
        }
        Ok(())
    }

    /// PEFT also writes the rows of a tied head, which are the embedding's.
    fn pass_over_repeated_rows(&self, left: &mut BTreeSet<&str>) -> Result<(), Error> {
        for tensor in self.layout.tensors() {
            let Some((own, suffix)) = tensor.name.split_once(".token_adapter.") else {
                continue;
            };
            for module in self.modules.iter().filter(|m| m.tied) {
                let again = format!("{PREFIX}{}.token_adapter.{suffix}", module.path);
                let Some(second) = self
                    .tensors
                    .get(&again)
                    .filter(|_| left.contains(again.as_str()))
                else {
                    continue;
                };
                let first = self.tensor(&tensor.name)?;
                if (first.dtype(), first.data()) != (second.dtype(), second.data()) {
                    return Err(self.invalid(format!(
                        "{own} is tied to {}, and their rows {again} differ",
                        module.path
                    )));
                }
                left.remove(again.as_str());
            }
        }
        Ok(())
    }

    /// A copy of a tensor of the base, if the file has one: it should be the base's own, where that is named.
    fn pass_over_copy(
        &self,
        name: &str,
        tensor: Option<&str>,
        shape: &[usize],
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Some(copy) = self.tensors.get(name) else {
            return Ok(());
        };
        if copy.shape() != shape {
            return Err(self.wrong_shape(name, Part::Weight, (copy.shape(), shape)));
        }
        left.remove(name);
        let mut copied = zeros(shape.iter().product())?;
        widen(&copy, &mut copied).map_err(|why| self.invalid(format!("tensor {name} {why}")))?;
        let mut own = zeros(copied.len())?;
        let differs = |tensor: &str| self.base.read(tensor, 0, &mut own).is_err() || own != copied;
        if tensor.is_some_and(differs) {
            warnings.push(format!(
                "{}: tensor {name}, a copy of the base's, is not this base's: the base's own is used",
                self.path.display()
            ));
        }
        Ok(())
    }

    pub(super) fn invalid(&self, fault: impl Into<Fault>) -> Error {
        Error::invalid(self.path, fault)
    }
}
