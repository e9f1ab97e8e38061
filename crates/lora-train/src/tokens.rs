//! Tokens that were added to the base's vocabulary: their rows train, and begin as the mean of the others.
use crate::args::Args;
use crate::choices::Method;
use crate::inputs::{Inputs, Start};
use lora_cli::{Error, Result, Ui};
use lora_core::{Adapter, LoraConfig};
use lora_data::{Example, dataset_tokenizer};
use lora_model::{Base, spec};
use std::collections::{BTreeMap, HashSet};

/// Refuses what trains no rows for added tokens, before anything is read.
pub(crate) fn check(args: &Args, inputs: &Inputs) -> Result<()> {
    let added = match &inputs.base {
        Start::Weights(base) => base.checkpoint().added_vocabulary().is_some(),
        Start::Shape(_) => dataset_tokenizer(&args.data).is_some(),
    };
    match added && args.method == Method::Full {
        false => Ok(()),
        true => Err(Error::new(format!(
            "{} holds tokens that were added to the base's, and --method full can't make a base larger",
            args.data.display()
        ))
        .hint(
            "use --method lora; or add them to the model itself in transformers (resize_token_embeddings), and prepare the \
             data with that one",
        )),
    }
}

/// What was added to the base's vocabulary, by id.
fn added(base: &Base) -> BTreeMap<u32, String> {
    let added = base.checkpoint().added_vocabulary();
    added.map_or_else(BTreeMap::new, |added| added.tokens.clone())
}

/// A new adapter trains the rows of added tokens, where their weights don't train as a whole.
pub(crate) fn train_rows(config: &mut LoraConfig, base: &Base) {
    let ids: Vec<usize> = added(base).into_keys().map(|id| id as usize).collect();
    let tied = base.config().tie_word_embeddings;
    config.trainable_token_indices = spec::rows_to_train(config, tied, &ids);
}

/// Rows that the base has already for added tokens begin as the mean, too.
pub(crate) fn begin(adapter: &mut Adapter, base: &Base) -> Result<()> {
    let behind = base.checkpoint().file_rows();
    let ids: Vec<usize> = added(base).into_keys().map(|id| id as usize).collect();
    for id in ids.into_iter().filter(|id| *id < behind) {
        for path in [spec::EMBEDDING, spec::HEAD] {
            let tied = path == spec::HEAD && base.config().tie_word_embeddings;
            let table = if tied { spec::EMBEDDING } else { path };
            let mean = base.checkpoint().mean_row(&format!("{table}.weight"))?;
            adapter.set_row(path, id, &mean);
        }
    }
    Ok(())
}

/// An adapter to start from has rows for all tokens that were added, and no other rows are lost when it is saved.
pub(crate) fn check_loaded(adapter: &Adapter, base: &Base) -> Result<()> {
    if let Some(what) = lora_model::rows_left_behind(base, adapter) {
        return Err(Error::new(format!(
            "the adapter to start from brings {what}, which do not train and would not be in the new one"
        ))
        .hint("merge it (lora-merge --adapter A --out M), and train a new one with --base M"));
    }
    for (id, token) in added(base) {
        let trains = |path: &str| {
            adapter.replacement(&format!("{path}.weight")).is_some()
                || adapter
                    .rows_of(path)
                    .is_some_and(|(rows, _)| rows.place_of(id as usize).is_some())
        };
        if !trains(spec::EMBEDDING) || !trains(spec::HEAD) {
            return Err(Error::new(format!(
                "the adapter to start from trains no row for {token}, which was added to the base's tokens"
            ))
            .hint("leave --adapter out: a new adapter trains such rows"));
        }
    }
    Ok(())
}

/// Says which added tokens no row of the training data holds: nothing can be learned of them.
pub(crate) fn say_unused(base: &Base, rows: &[Example], ui: &Ui) {
    let added = added(base);
    if added.is_empty() {
        return;
    }
    let seen: HashSet<u32> = rows
        .iter()
        .flat_map(|row| row.input_ids.iter().copied())
        .collect();
    let unused = added.iter().filter(|(id, _)| !seen.contains(id));
    let unused: Vec<&str> = unused.map(|(_, token)| token.as_str()).collect();
    if !unused.is_empty() {
        ui.warn(&format!(
            "no row of the training data holds {}: nothing is learned of a token that is never seen",
            unused.join(", ")
        ));
    }
}

/// The tokens that were added to the base, by id, for the receipt and the card.
pub(crate) fn named(inputs: &Inputs) -> Vec<String> {
    match &inputs.base {
        Start::Weights(base) => added(base).into_values().collect(),
        Start::Shape(_) => Vec::new(),
    }
}
