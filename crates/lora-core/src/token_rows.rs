//! Which rows of which modules `trainable_token_indices` takes of a model, as PEFT's `set_additional_trainable_modules`
//! does.
use crate::select::Selection;
use crate::tokens::{TokenIndices, TrainedRows};
use crate::{Error, Fault, LoraConfig, Module, ModuleKind};

/// What `trainable_token_indices` takes of a model, without places.
pub(crate) fn rows_of(
    config: &LoraConfig,
    modules: &[Module],
    found: &Selection,
) -> Result<Vec<TrainedRows>, Error> {
    let mut named = named_rows(&config.trainable_token_indices, modules)?;
    let tied = tied_pair(modules);
    if let Some((table, head)) = tied {
        let of = |index: usize| named.iter().position(|(module, _)| *module == index);
        if let (Some(of_table), Some(of_head)) = (of(table), of(head)) {
            if named[of_table].1 == named[of_head].1 {
                named.remove(of_head);
            } else {
                return apart(config, &named, modules, found);
            }
        }
    }
    named
        .into_iter()
        .map(|(index, rows)| {
            let mut own = vec![index];
            own.extend(
                tied.filter(|(table, _)| *table == index)
                    .map(|(_, head)| head),
            );
            of_modules(&own, rows, modules, found)
        })
        .collect()
}

/// Other rows on each side of a tied pair: each side has its own.
fn apart(
    config: &LoraConfig,
    named: &[(usize, Vec<usize>)],
    modules: &[Module],
    found: &Selection,
) -> Result<Vec<TrainedRows>, Error> {
    if config.ensure_weight_tying {
        let what = "trainable_token_indices names other tokens for the head than for the embedding that it is tied to, and \
                    ensure_weight_tying asks for the same";
        return Err(Error::config(
            Fault::new(what).hint("name the same tokens for both"),
        ));
    }
    let each = named.iter();
    each.map(|(index, rows)| of_modules(&[*index], rows.clone(), modules, found))
        .collect()
}

/// Index of a module, and its rows, in the model's order.
fn named_rows(
    indices: &TokenIndices,
    modules: &[Module],
) -> Result<Vec<(usize, Vec<usize>)>, Error> {
    let mut all = Vec::new();
    match indices {
        TokenIndices::None => {}
        TokenIndices::Embedding(rows) => {
            let is_table = |m: &Module| m.kind == ModuleKind::Embedding;
            let table = modules.iter().position(is_table).ok_or_else(|| {
                Error::config("trainable_token_indices needs an embedding, and this model has none")
            })?;
            all.push((table, rows.clone()));
        }
        TokenIndices::Modules(named) => {
            for (name, rows) in named {
                all.push((table_named(name, modules)?, rows.clone()));
            }
        }
    }
    all.sort_by_key(|(index, _)| *index);
    match all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(all),
        Some(pair) => Err(Error::config(format!(
            "trainable_token_indices names {} twice",
            modules[pair[0].0].path
        ))),
    }
}

/// The embedding or head whose path ends with a name.
fn table_named(name: &str, modules: &[Module]) -> Result<usize, Error> {
    let tables =
        "trainable_token_indices is for the embedding and the head (embed_tokens, lm_head)";
    let ends = |m: &&Module| m.path.ends_with(name);
    let mut found = modules.iter().filter(ends);
    let (Some(module), None) = (found.next(), found.next()) else {
        let what = format!(
            "trainable_token_indices names `{name}`, which is not one module of this model"
        );
        return Err(Error::config(Fault::new(what).hint(tables)));
    };
    let index = modules.iter().position(|m| m.path == module.path);
    match index.filter(|_| module.kind == ModuleKind::Embedding || module.is_head) {
        Some(index) => Ok(index),
        None => {
            let what = format!(
                "trainable_token_indices names {}, whose rows are no tokens",
                module.path
            );
            Err(Error::config(Fault::new(what).hint(tables)))
        }
    }
}

/// The embedding and the head that has its weight.
fn tied_pair(modules: &[Module]) -> Option<(usize, usize)> {
    let table = modules
        .iter()
        .position(|m| m.kind == ModuleKind::Embedding)?;
    let head = modules.iter().position(|m| m.tied)?;
    Some((table, head))
}

fn of_modules(
    own: &[usize],
    rows: Vec<usize>,
    modules: &[Module],
    found: &Selection,
) -> Result<TrainedRows, Error> {
    for &index in own {
        let path = &modules[index].path;
        let otherwise = [
            ("carries LoRA", &found.targeted),
            ("is in modules_to_save", &found.saved),
        ];
        if let Some((how, _)) = otherwise.iter().find(|(_, all)| all.contains(&index)) {
            let what = format!(
                "{path} {how}, and rows of its weight are to train by trainable_token_indices"
            );
            return Err(Error::config(Fault::new(what).hint(
                "leave it out of target_modules; to train more of it, name it in modules_to_save alone",
            )));
        }
    }
    let module = &modules[own[0]];
    let [vocabulary, width] = module.weight_shape()[..] else {
        return Err(Error::config(format!("{} is no table", module.path)));
    };
    check(&rows, vocabulary, &module.path)?;
    let paths = own.iter().map(|&index| modules[index].path.clone());
    Ok(TrainedRows::new(paths.collect(), rows, width))
}

/// Every row is one of the table's, and named once.
fn check(rows: &[usize], vocabulary: usize, path: &str) -> Result<(), Error> {
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    if let Some(row) = sorted.last().filter(|row| **row >= vocabulary) {
        let what = format!(
            "trainable_token_indices names token {row}, and {path} has {vocabulary} rows: tokens were added to the base \
             before training"
        );
        let hint = "name the base with its larger vocabulary";
        return Err(Error::config(Fault::new(what).hint(hint)));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let what = format!("trainable_token_indices names token {} twice", pair[0]);
            Err(Error::config(Fault::new(what).hint("name each token once")))
        }
    }
}
