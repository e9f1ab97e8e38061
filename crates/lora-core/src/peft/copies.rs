//! Copies of the base's embedding and head, which PEFT writes beside an adapter whose base has another vocabulary than the
//! one that its name stands for. PEFT puts them into the base when it loads the adapter, so they must be the base's.
use super::fill::Fill;
use crate::layout::PREFIX;
use crate::values::{widen, zeros};
use crate::{BaseModel, Error, Fault, Module, ModuleKind};
use half::{bf16, f16};
use std::collections::BTreeSet;

/// Where PEFT's wrappers keep the base's weight, behind the path of a module.
const COPIES: [&str; 4] = [
    ".weight",
    ".base_layer.weight",
    ".token_adapter.base_layer.weight",
    ".original_module.weight",
];

impl<B: BaseModel> Fill<'_, B> {
    /// Takes the copies out of what is left of the file, after a look at each.
    pub(super) fn pass_over_vocabulary(&self, left: &mut BTreeSet<&str>) -> Result<(), Error> {
        let is_table = |m: &&Module| m.kind == ModuleKind::Embedding || m.is_head;
        for module in self.modules.iter().filter(is_table) {
            self.pass_over_repeated_weight(module, left)?;
            for suffix in COPIES {
                let name = format!("{PREFIX}{}{suffix}", module.path);
                if left.remove(name.as_str()) {
                    self.check_copy(&name, module)?;
                }
            }
        }
        Ok(())
    }

    /// The trained weight of a module to save, once more.
    fn pass_over_repeated_weight(
        &self,
        module: &Module,
        left: &mut BTreeSet<&str>,
    ) -> Result<(), Error> {
        let name = format!("{PREFIX}{}.weight", module.path);
        let again = format!("{PREFIX}{}.modules_to_save.weight", module.path);
        let trains = self
            .layout
            .trained
            .iter()
            .any(|trained| trained.name == name);
        if !trains || !left.remove(again.as_str()) {
            return Ok(());
        }
        let (first, second) = (self.tensor(&name)?, self.tensor(&again)?);
        match (first.dtype(), first.data()) == (second.dtype(), second.data()) {
            true => Ok(()),
            false => Err(self.invalid(format!(
                "tensors {name} and {again} are one weight and differ"
            ))),
        }
    }

    fn check_copy(&self, name: &str, module: &Module) -> Result<(), Error> {
        let copy = self.tensor(name)?;
        let shape = module.weight_shape();
        if copy.shape() != shape {
            return Err(self.wrong_shape(name, crate::Part::Weight, (copy.shape(), &shape)));
        }
        let mut copied = zeros(shape.iter().product())?;
        widen(&copy, &mut copied).map_err(|why| self.invalid(format!("tensor {name} {why}")))?;
        let mut own = zeros(copied.len())?;
        self.base
            .read(&format!("{}.weight", module.path), 0, &mut own)?;
        if copied
            .iter()
            .zip(&own)
            .all(|(&copy, &own)| is_same(copy, own))
        {
            return Ok(());
        }
        Err(self.invalid(
            Fault::new(format!(
                "tensor {name} is not the weight of this base, and PEFT would put it in its place"
            ))
            .hint(
                "name the base that the adapter was trained on, unquantised; if its embedding or head was trained whole, name \
                 them in modules_to_save",
            ),
        ))
    }
}

/// True if both are the same value, perhaps rounded to 16 bits on one side.
fn is_same(copy: f32, own: f32) -> bool {
    let rounded = |value: f32| {
        [
            bf16::from_f32(value).to_f32(),
            f16::from_f32(value).to_f32(),
        ]
    };
    copy == own || rounded(copy).contains(&own) || rounded(own).contains(&copy)
}
