//! From a set of modules back to what a config says.
use crate::{LoraConfig, Module, TargetModules};

/// A list of targets that says exactly `paths` (in the order of `modules`): these names if they do, else the whole paths.
pub(crate) fn targets_of(
    mut names: Vec<String>,
    paths: &[&str],
    modules: &[Module],
) -> TargetModules {
    names.sort();
    names.dedup();
    let list = TargetModules::List(names);
    let found = LoraConfig::new(1, 1.0, list.clone()).layout_leniently(modules);
    let says = found.is_ok_and(|(layout, _)| {
        layout
            .modules
            .iter()
            .map(|m| m.path.as_str())
            .eq(paths.iter().copied())
    });
    if says {
        list
    } else {
        TargetModules::List(paths.iter().map(ToString::to_string).collect())
    }
}
