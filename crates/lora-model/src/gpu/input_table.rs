//! What the inputs of layers are looked up in, where layers have such.
use super::load::Loader;
use super::norms::gamma;
use super::table::Table;
use crate::{Base, Error};
use lora_checkpoint::Norm;
use lora_gpu::Tensor;

/// The table of a base, and the norm of what stands beside its rows.
#[derive(Debug)]
pub(super) struct InputTable {
    /// (V, L·P).
    pub(super) table: Table,
    /// γ of what the embedding gives each layer, f32 (P).
    pub(super) norm: Tensor,
}

impl InputTable {
    pub(super) fn load(base: &Base, loader: &mut Loader<'_>) -> Result<Option<Self>, Error> {
        let config = base.config();
        let table = config.per_layer_table();
        let Some(((name, _), path)) = table.zip(config.norm_path(0, Norm::PerLayerInput)) else {
            return Ok(None);
        };
        let view = base.checkpoint().tensor(&name)?;
        Ok(Some(Self {
            table: Table::load(loader, &view)?,
            norm: gamma(base, loader.gpu(), &path)?,
        }))
    }
}
