//! The factors of a module, and how they stand in a GGUF LoRA: a pair of tensors behind the name of the model's.
use lora_checkpoint::TensorView;
use lora_checkpoint::gguf::GgufFile;
use lora_cli::{Error, Result};
use lora_core::Module;
use std::collections::BTreeSet;

pub(super) const OTHER_BASE: &str = "the adapter was probably made for another base model";

/// A module's factors as PEFT has them.
pub(super) struct Factors<'m> {
    pub(super) module: &'m Module,
    pub(super) rank: usize,
    /// (rank, in) and (out, rank), of experts one behind the other.
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
}

/// The factors at a tensor of the model, taken out of what is left of the file.
pub(super) fn pair<'f>(
    file: &'f GgufFile,
    target: &str,
    left: &mut BTreeSet<&str>,
) -> Result<Option<(TensorView<'f>, TensorView<'f>)>> {
    let [a_name, b_name] = ["lora_a", "lora_b"].map(|factor| format!("{target}.{factor}"));
    let found = match (file.tensor(&a_name), file.tensor(&b_name)) {
        (None, None) => return Ok(None),
        (Some(a), Some(b)) => (a, b),
        (None, _) => return Err(Error::new(format!("tensor {a_name} is missing"))),
        (_, None) => return Err(Error::new(format!("tensor {b_name} is missing"))),
    };
    left.remove(a_name.as_str());
    left.remove(b_name.as_str());
    Ok(Some(found))
}

pub(super) fn check(tensor: &TensorView<'_>, wanted: &[usize]) -> Result<()> {
    match tensor.shape() == wanted {
        true => Ok(()),
        false => {
            let (name, found) = (tensor.name(), tensor.shape());
            Err(Error::new(format!(
                "tensor {name} has shape {found:?}, this base needs {wanted:?}"
            ))
            .hint(OTHER_BASE))
        }
    }
}
