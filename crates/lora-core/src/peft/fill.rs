//! The flat parameters of an adapter from PEFT's tensor file: every tensor used, every shape equal, every value finite.
use super::reasons::{missing, shape_hint, unexpected};
use crate::diagnosis::OTHER_BASE;
use crate::layout::{AdapterTensor, Part};
use crate::values::{widen, zeros};
use crate::{BaseModel, Bias, Error, Layout, LoraConfig};
use safetensors::tensor::SafeTensors;
use std::collections::BTreeSet;
use std::path::Path;

/// An adapter's tensor file, and what it must fill.
pub(super) struct Fill<'f, B> {
    pub(super) path: &'f Path,
    pub(super) tensors: SafeTensors<'f>,
    pub(super) layout: &'f Layout,
    pub(super) config: &'f LoraConfig,
    pub(super) base: &'f B,
}

impl<B: BaseModel> Fill<'_, B> {
    /// The flat parameters, from a file that holds them all and nothing else.
    pub(super) fn params(&self, warnings: &mut Vec<String>) -> Result<Vec<f32>, Error> {
        let mut left: BTreeSet<&str> = self.tensors.names().into_iter().collect();
        let wanted = self.layout.tensors();
        for AdapterTensor {
            name, shape, part, ..
        } in &wanted
        {
            let tensor = self
                .tensors
                .tensor(name)
                .map_err(|_| self.invalid(missing(name, &left)))?;
            if tensor.shape() != shape {
                let (found, hint) = (tensor.shape(), shape_hint(*part, tensor.shape(), shape));
                return Err(self.invalid(format!(
                    "tensor {name} has shape {found:?}, this base needs {shape:?}{hint}"
                )));
            }
            left.remove(name.as_str());
        }
        self.pass_over_copied_base(&mut left, warnings)?;
        self.pass_over_repeated_biases(&mut left, warnings)?;
        if let Some(name) = left.first() {
            return Err(self.invalid(unexpected(name)));
        }
        let mut params = zeros(self.layout.parameters())?;
        for AdapterTensor { name, range, .. } in wanted {
            let tensor = self
                .tensors
                .tensor(&name)
                .map_err(|e| self.invalid(e.to_string()))?;
            widen(&tensor, &mut params[range])
                .map_err(|why| self.invalid(format!("tensor {name} {why}")))?;
        }
        Ok(params)
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
            if let Ok(second) = self.tensors.tensor(&again) {
                let first = self
                    .tensors
                    .tensor(&trained.name)
                    .map_err(|e| self.invalid(e.to_string()))?;
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

    /// A copy of a tensor of the base, if the file has one: it should be the base's own, where that is named.
    fn pass_over_copy(
        &self,
        name: &str,
        tensor: Option<&str>,
        shape: &[usize],
        left: &mut BTreeSet<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let Ok(copy) = self.tensors.tensor(name) else {
            return Ok(());
        };
        if copy.shape() != shape {
            let found = copy.shape();
            return Err(self.invalid(format!(
                "tensor {name} has shape {found:?}, this base needs {shape:?}{OTHER_BASE}"
            )));
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

    fn invalid(&self, message: String) -> Error {
        Error::invalid(self.path, message)
    }
}
