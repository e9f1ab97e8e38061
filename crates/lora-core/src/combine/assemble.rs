//! From combined factors to one adapter: which modules it has, what its config says, where its values lie.
use super::parts::Factors;
use crate::naming::targets_of;
use crate::{Adapter, Error, Fault, LoraConfig, Module, TargetModules};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The modules of any of the adapters, in the model's order.
pub(super) fn places(
    adapters: &[(Cow<'_, Adapter>, f64)],
    modules: &[Module],
) -> Result<Vec<Module>, Error> {
    let mut shapes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for module in adapters.iter().flat_map(|(adapter, _)| &adapter.modules) {
        let shape = (module.out_features, module.in_features);
        let known = *shapes.entry(&module.path).or_insert(shape);
        if known != shape {
            return Err(Error::config(
                Fault::new(format!(
                    "{}: one adapter is for weights of shape {known:?}, another for {shape:?}",
                    module.path
                ))
                .hint("adapters can be combined only if they were trained on the same base"),
            ));
        }
    }
    let places: Vec<_> = modules
        .iter()
        .filter(|module| shapes.contains_key(module.path.as_str()))
        .cloned()
        .collect();
    match places.len() == shapes.len() {
        true => Ok(places),
        false => Err(Error::config(
            "an adapter has modules that the model does not".to_owned(),
        )),
    }
}

/// The adapter of these factors: alpha = rank, so that its scaling is 1. A module of a smaller rank gets zeros.
pub(super) fn adapter(
    adapters: &[(Cow<'_, Adapter>, f64)],
    places: &[Module],
    modules: &[Module],
    parts: &[Factors],
) -> Result<Adapter, Error> {
    let rank = parts.iter().map(|part| part.rank).max().unwrap_or(0);
    let mut config = LoraConfig::new(rank, rank as f64, targets(adapters, places, modules));
    config.base_model_name_or_path = adapters
        .iter()
        .find_map(|(a, _)| a.config.base_model_name_or_path.clone());
    let mut adapter = Adapter::zeroed(config, modules)?;
    for (index, part) in parts.iter().enumerate() {
        let module = &adapter.modules[index];
        debug_assert_eq!(module.path, places[index].path);
        let (a, b) = (module.a.clone(), module.b.clone());
        adapter.params[a][..part.a.len()].copy_from_slice(&part.a);
        for (row, values) in adapter.params[b]
            .chunks_exact_mut(rank)
            .zip(part.b.chunks_exact(part.rank))
        {
            row[..part.rank].copy_from_slice(values);
        }
    }
    Ok(adapter)
}

/// The adapters' own lists together where they say exactly these modules, else every path by its full name.
fn targets(
    adapters: &[(Cow<'_, Adapter>, f64)],
    places: &[Module],
    modules: &[Module],
) -> TargetModules {
    let list = |config: &LoraConfig| match &config.target_modules {
        TargetModules::List(names)
            if config.layers_to_transform.is_empty() && config.exclude_modules.is_none() =>
        {
            Some(names.clone())
        }
        _ => None,
    };
    let lists: Option<Vec<_>> = adapters
        .iter()
        .map(|(adapter, _)| list(&adapter.config))
        .collect();
    let paths: Vec<&str> = places.iter().map(|module| module.path.as_str()).collect();
    targets_of(lists.unwrap_or_default().concat(), &paths, modules)
}
