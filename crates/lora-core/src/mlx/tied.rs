//! Models whose head has the embedding's weights.
use crate::{Module, ModuleKind};

/// The embedding, and the head that has its weights, if the model ties them.
pub(super) fn tied(modules: &[Module]) -> Option<(&Module, &Module)> {
    let table = modules.iter().find(|m| m.kind == ModuleKind::Embedding)?;
    Some((table, modules.iter().find(|m| m.tied)?))
}
