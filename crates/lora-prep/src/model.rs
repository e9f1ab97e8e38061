//! The tokenizer and chat template that rows are prepared for.
use crate::Args;
use lora_checkpoint::{Chat, Checkpoint, ModelConfig, TokenizerBundle};
use lora_cli::{Error, Result};
use lora_data::{ChatTemplate, Encoder};
use lora_receipt::Input;
use std::path::Path;

/// Tokens that a row may have if neither the user nor the model says less.
const MAX_LENGTH: usize = 1024;

/// The tokenizer of a model and the context that the model was made for. Of a Hugging Face folder no weights are read.
pub(crate) fn tokenizer(base: &Path) -> Result<(TokenizerBundle, usize)> {
    let config = base.join("config.json");
    if config.is_file() {
        let config = ModelConfig::from_json(&config)?;
        return Ok((
            TokenizerBundle::from_folder(base, &config)?,
            config.max_position_embeddings,
        ));
    }
    let checkpoint = Checkpoint::open(base)?;
    Ok((
        checkpoint.tokenizer()?,
        checkpoint.config().max_position_embeddings,
    ))
}

/// How the base's own chats are written. Of a Hugging Face folder no weights are read.
fn chat(base: &Path) -> Result<Chat> {
    Ok(match base.join("config.json").is_file() {
        true => Chat::of_folder(base)?,
        false => Checkpoint::open(base)?.chat()?,
    })
}

/// What turns records into rows, and the length limit.
pub(crate) struct Model {
    pub(crate) encoder: Encoder,
    pub(crate) tokenizer_sha256: String,
    pub(crate) max_length: usize,
    pub(crate) context: usize,
    /// The system text that the base was trained with, if its files say so.
    pub(crate) base_system: Option<String>,
    /// Base and template with their hashes.
    pub(crate) inputs: Vec<Input>,
}

impl Model {
    pub(crate) fn open(args: &Args, base: &Path) -> Result<Self> {
        let (bundle, context) = tokenizer(base)?;
        let mut inputs = vec![Input::read("base", base)?];
        let mut origin = base.display().to_string();
        let source = match &args.template {
            Some(file) => {
                inputs.push(Input::read("template", file)?);
                origin = file.display().to_string();
                let text = std::fs::read_to_string(file);
                Some(text.map_err(|e| {
                    Error::foreign(e).context(format!("failed to read {}", file.display()))
                })?)
            }
            None => bundle
                .chat_template
                .clone()
                .filter(|_| !args.no_chat_template),
        };
        let template = source
            .map(|source| {
                ChatTemplate::new(
                    &source,
                    bundle.bos_token.as_deref(),
                    bundle.eos_token.as_deref(),
                )
            })
            .transpose()
            .map_err(|fault| {
                Error::new(format!(
                    "the chat template of {origin} can't be used: {fault}"
                ))
                .hint("give a template that says the same in plainer Jinja: --template FILE; the model must then be used with that one")
            })?;
        let encoder = Encoder::new(&bundle, template, args.system.clone())?;
        let shortest = args.text_block.unwrap_or(0).max(MAX_LENGTH.min(context));
        let max_length = args.max_length.unwrap_or(shortest);
        Ok(Self {
            encoder,
            tokenizer_sha256: bundle.sha256,
            max_length,
            context,
            base_system: chat(base)?.system,
            inputs,
        })
    }
}
