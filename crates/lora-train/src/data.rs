//! Reads the rows, and checks that they fit the model.
use crate::args::Args;
use crate::inputs::Inputs;
use lora_checkpoint::Chat;
use lora_cli::{Error, Result};
use lora_data::{Example, Split};

/// The rows that train and those held out.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) train: Vec<Example>,
    pub(crate) valid: Option<Vec<Example>>,
    /// How the chats of the rows are written; None if nothing tells.
    pub(crate) chat: Option<Chat>,
}

/// Reads the splits and checks every row against the model.
pub(crate) fn load(args: &Args, inputs: &Inputs) -> Result<Rows> {
    let train = load_split(args, inputs, "train")?;
    let has_valid = args.data.join("valid.parquet").is_file();
    let valid = if has_valid {
        Some(load_split(args, inputs, "valid")?)
    } else {
        None
    };
    if valid.is_none() && args.patience.is_some() {
        return Err(Error::new(format!(
            "--patience needs a valid split, and {} has none",
            args.data.display()
        ))
        .hint("prepare the data with lora-prep --valid 0.1"));
    }
    if let Some(held_out) = &valid
        && held_out.template_sha256 != train.template_sha256
    {
        return Err(Error::new(format!(
            "{}: train.parquet and valid.parquet are written with different chat templates",
            args.data.display()
        ))
        .hint("prepare both with the same lora-prep"));
    }
    Ok(Rows {
        chat: chat(args, inputs, &train)?,
        train: train.examples,
        valid: valid.map(|split| split.examples),
    })
}

/// How a split's chats are written. Datasets of before hold only the hash of the template: it may be that of the base.
fn chat(args: &Args, inputs: &Inputs, split: &Split) -> Result<Option<Chat>> {
    if split.chat.is_some() || split.template_sha256.is_none() {
        return Ok(split.chat.clone());
    }
    let own = inputs.chat(&args.base)?;
    let is_own = own.template_sha256() == split.template_sha256;
    Ok(is_own.then_some(Chat {
        system: None,
        ..own
    }))
}

/// One split. That every row is sound, and has a supervised token, is lora-data's law; that it fits the model is ours.
fn load_split(args: &Args, inputs: &Inputs, name: &str) -> Result<Split> {
    let split = Split::read(&args.data, name)?;
    if split.tokenizer_sha256.is_some() {
        split.check_tokenizer_of(&inputs.tokenizer(&args.base)?, &args.data)?;
    }
    split.check_vocabulary(inputs.config().vocab_size, &args.data)?;
    let context = inputs.config().max_position_embeddings;
    match split
        .lengths()
        .into_iter()
        .enumerate()
        .find(|(_, tokens)| *tokens > context)
    {
        None => Ok(split),
        Some((row, tokens)) => Err(Error::new(format!(
            "{}: row {} of {name} has {tokens} tokens, more than the model's context of {context}",
            args.data.display(),
            row + 1
        ))
        .hint(format!(
            "prepare the data with lora-prep --max-length {context}"
        ))),
    }
}
