//! Params and the matrix: which values they have in each combination.
use super::scope::Scope;
use super::step::{Earlier, Param};
use crate::file::Source;
use lora_cli::{Error, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// The matrix, less the params that `--set` has fixed.
pub(super) fn axes(source: &Source, set: &[(String, Value)]) -> Result<Vec<(String, Vec<Value>)>> {
    let known = || {
        let params = source.file.params.iter().map(|(name, _)| name);
        params.chain(source.file.matrix.iter().map(|(name, _)| name))
    };
    for (key, _) in set {
        if !known().any(|name| name == key) {
            let error = Error::new(format!(
                "--set {key}: {} has no param `{key}`",
                source.path.display()
            ));
            let names = known().collect::<Vec<_>>().join(", ");
            let hint = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("its params are {names}")
            };
            return Err(error.hint(hint));
        }
    }
    let mut keys = set.iter().map(|(key, _)| key);
    while let Some(key) = keys.next() {
        if keys.clone().any(|other| other == key) {
            return Err(Error::new(format!("--set {key} is given twice"))
                .hint("one value counts for the whole run: leave the other out"));
        }
    }
    let free = |name: &str| !set.iter().any(|(key, _)| key == name);
    Ok(source
        .file
        .matrix
        .iter()
        .filter(|(name, _)| free(name))
        .map(|(n, v)| (n.to_owned(), v.clone()))
        .collect())
}

/// Every choice of one value an axis, the last axis moving fastest. Without axes: one empty choice.
pub(super) fn combinations(axes: &[(String, Vec<Value>)]) -> Vec<Vec<(String, Value)>> {
    axes.iter()
        .fold(vec![Vec::new()], |chosen, (name, values)| {
            let with = |so_far: &Vec<(String, Value)>, value: &Value| {
                let mut longer = so_far.clone();
                longer.push((name.clone(), value.clone()));
                longer
            };
            chosen
                .iter()
                .flat_map(|so_far| values.iter().map(move |value| with(so_far, value)))
                .collect()
        })
}

/// Fills in the params, which may use matrix params and params above them.
pub(super) fn params(
    source: &Source,
    set: &[(String, Value)],
    combination: &[(String, Value)],
) -> Result<Vec<Param>> {
    let axis = |(name, value): &(String, Value)| Param {
        name: name.clone(),
        value: value.clone(),
        varies: BTreeSet::from([name.clone()]),
    };
    let mut params: Vec<Param> = combination.iter().map(axis).collect();
    for (name, value) in set {
        params.push(Param {
            name: name.clone(),
            value: value.clone(),
            varies: BTreeSet::new(),
        });
    }
    for (name, written) in source.file.params.iter() {
        if !params.iter().any(|param| param.name == name) {
            let scope = Scope {
                source,
                params: &params,
                earlier: &Earlier::default(),
                name,
            };
            let (value, varies) = scope.value(&["params", name], written)?;
            params.push(Param {
                name: name.to_owned(),
                value,
                varies,
            });
        }
    }
    Ok(params)
}
