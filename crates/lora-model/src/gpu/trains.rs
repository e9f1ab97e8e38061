//! What trains, from an adapter's modules, tensors and rows alone.
use super::group::ALIGNED;
use super::table_needs::TableNeeds;
use crate::spec::EMBEDDING;
use lora_checkpoint::{ModelConfig, Norm};
use lora_core::{TargetedModule, TrainedRows, TrainedTensor};

/// What trains of an adapter: modules that carry factors, whole tensors, rows of tables.
pub(super) type Trained<'t> = (&'t [TargetedModule], &'t [TrainedTensor], &'t [TrainedRows]);

/// Values that train.
pub(super) fn parameters_of((modules, trained, rows): Trained<'_>) -> usize {
    let of_modules: usize = modules.iter().map(parameters).sum();
    let of_tensors: usize = trained.iter().map(|tensor| tensor.range.len()).sum();
    let of_rows: usize = rows.iter().map(|own| own.rows.len() * own.width).sum();
    of_modules + of_tensors + of_rows
}

/// What trains of a module.
fn parameters(module: &TargetedModule) -> usize {
    let vectors = [&module.magnitude, &module.lora_bias];
    let vectors = vectors.into_iter().flatten().map(ExactSizeIterator::len);
    module.a.len() + module.b.len() + vectors.sum::<usize>()
}

/// Factors or rows of a table; of the embedding nothing is taken out.
pub(super) fn table_needs(
    path: &str,
    module: Option<&TargetedModule>,
    (rows, pairs): (&[TrainedRows], usize),
) -> TableNeeds {
    let own = rows.iter().find(|own| own.are_of(path));
    let columns = |m: &TargetedModule| {
        if m.is_embedding() {
            m.rank
        } else {
            pairs * m.rank
        }
    };
    TableNeeds {
        is_whole: false,
        rows: own.map_or(0, |own| own.rows.len()),
        columns: module.map_or(0, columns).next_multiple_of(ALIGNED),
        has_magnitudes: module.is_some_and(|m| m.magnitude.is_some()),
        trains_bias: module.is_some_and(|m| m.lora_bias.is_some()),
    }
}

/// The first layer in which something trains.
pub(super) fn lowest_layer(config: &ModelConfig, (modules, trained, rows): Trained<'_>) -> usize {
    let layers = config.num_hidden_layers;
    let table = format!("{EMBEDDING}.weight");
    if trained.iter().any(|t| t.tensor == table) || rows.iter().any(|own| own.are_of(EMBEDDING)) {
        return 0;
    }
    let of_inputs = config.norm_path(0, Norm::PerLayerInput);
    let of_inputs = of_inputs.map(|path| format!("{path}.weight"));
    if trained
        .iter()
        .any(|t| Some(&t.tensor) == of_inputs.as_ref())
    {
        return 0;
    }
    let of_tensors = (0..layers).find(|layer| {
        let prefix = format!("model.layers.{layer}.");
        trained.iter().any(|t| t.tensor.starts_with(&prefix))
    });
    crate::fused::lowest_layer(modules)
        .min(of_tensors.unwrap_or(layers))
        .min(layers)
}
