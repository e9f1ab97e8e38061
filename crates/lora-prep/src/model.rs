//! The tokenizer and chat template that rows are prepared for.
use crate::Args;
use lora_checkpoint::{Chat, Checkpoint, ModelConfig, TokenizerBundle};
use lora_cli::{Error, Foreign as _, Result};
use lora_data::{ChatTemplate, Encoder, Rules, TOKENIZER_FOLDER, system_into_user};
use lora_receipt::Input;
use std::path::Path;

/// Tokens that a row may have if neither the user nor the model says less.
const MAX_LENGTH: usize = 2048;

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

/// True for a name that people give to a list of tokens, not to a token.
fn is_like_a_file(name: &Path) -> bool {
    let ending = name.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("txt" | "json" | "jsonl" | "csv"))
}

/// The tokens of `--add-tokens`: of a file one a line, else between commas.
fn added_tokens(args: &Args, inputs: &mut Vec<Input>) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for given in &args.add_tokens {
        let file = Path::new(given);
        if file.is_file() {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|e| {
                Error::foreign(e).context(format!("failed to read {}", file.display()))
            })?;
            inputs.push(Input::read("tokens", file)?);
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            tokens.extend(lines.map(str::to_owned));
        } else if is_like_a_file(file) {
            return Err(
                Error::new(format!("--add-tokens {given}: there is no such file"))
                    .hint("check the path; tokens themselves are written like <|tool|>"),
            );
        } else {
            let words = given
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            tokens.extend(words.map(str::to_owned));
        }
    }
    match tokens.is_empty() && !args.add_tokens.is_empty() {
        true => Err(Error::new("--add-tokens names no token")
            .hint("name some, e.g. --add-tokens '<|tool|>,<|answer|>', or a file with one a line")),
        false => Ok(tokens),
    }
}

/// How the base's own chats are written. Of a Hugging Face folder no weights are read.
fn chat(base: &Path) -> Result<Chat> {
    Ok(match base.join("config.json").is_file() {
        true => Chat::of_folder(base)?,
        false => Checkpoint::open(base)?.chat()?,
    })
}

/// The template of a model that transformers takes for chats that offer tools.
const FOR_TOOLS: &str = "tool_use";

/// The model's own template, or the one that is named.
fn own_template(bundle: &TokenizerBundle, args: &Args, base: &Path) -> Result<Option<String>> {
    let named = &bundle.named_templates;
    let names = || named.keys().cloned().collect::<Vec<_>>().join(", ");
    match (&args.template_name, &bundle.chat_template) {
        (Some(name), _) if named.contains_key(name) => Ok(named.get(name).cloned()),
        (Some(name), Some(own)) if name == "default" => Ok(Some(own.clone())),
        (Some(name), _) => Err(Error::new(format!(
            "{} has no chat template called '{name}'",
            base.display()
        ))
        .hint(match named.is_empty() {
            true => "leave --template-name out: it has one alone, or none".to_owned(),
            false => format!("it has {}", names()),
        })),
        (None, None) if !named.is_empty() => Err(Error::new(format!(
            "{} has several chat templates and none called 'default'",
            base.display()
        ))
        .hint(format!("choose one with --template-name: {}", names()))),
        (None, own) => Ok(own.clone()),
    }
}

/// What turns records into rows, and the length limit.
pub(crate) struct Model {
    pub(crate) encoder: Encoder,
    /// The base's tokenizer, with the tokens that were added.
    pub(crate) tokenizer: TokenizerBundle,
    pub(crate) tokenizer_sha256: String,
    pub(crate) max_length: usize,
    pub(crate) context: usize,
    /// The system text that the base was trained with, if its files say so.
    pub(crate) base_system: Option<String>,
    /// True if the base has no chat template and none is given: not by choice.
    pub(crate) lacks_template: bool,
    /// Where the template comes from.
    origin: String,
    /// Base and template with their hashes.
    pub(crate) inputs: Vec<Input>,
}

impl Model {
    pub(crate) fn open(args: &Args, base: &Path) -> Result<Self> {
        let (bundle, context) = tokenizer(base)?;
        let mut inputs = vec![Input::read("base", base)?];
        let added = added_tokens(args, &mut inputs)?;
        let bundle = bundle.with_added_tokens(&added)?;
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
            None if args.no_chat_template => None,
            None => own_template(&bundle, args, base)?,
        };
        // So that it goes with the rows, wherever chats are written.
        let source = match args.system_into_user {
            true => source.map(|source| system_into_user(&source)),
            false => source,
        };
        let template = source
            .map(|source| {
                let template = ChatTemplate::new(
                    &source,
                    bundle.bos_token.as_deref(),
                    bundle.eos_token.as_deref(),
                )?;
                let template = match &args.date {
                    Some(date) => template.with_date(date)?,
                    None => template,
                };
                template.try_out()?;
                Ok::<_, String>(template)
            })
            .transpose()
            .map_err(|fault| unfit_template(&origin, &fault))?;
        let lacks_template = template.is_none() && !args.no_chat_template;
        let tools = bundle.named_templates.get(FOR_TOOLS);
        let rules = Rules {
            tools_elsewhere: args.template.is_none()
                && args.template_name.is_none()
                && tools.is_some_and(|tools| bundle.chat_template.as_ref() != Some(tools)),
            ..args.rules()
        };
        let encoder = Encoder::with_rules(&bundle, template, rules)?;
        let shortest = args.text_block.unwrap_or(0).max(MAX_LENGTH.min(context));
        let max_length = args.max_length.unwrap_or(shortest);
        Ok(Self {
            encoder,
            tokenizer_sha256: bundle.sha256.clone(),
            tokenizer: bundle,
            max_length,
            context,
            base_system: chat(base)?.system,
            lacks_template,
            origin,
            inputs,
        })
    }

    /// Writes the tokenizer into the dataset, if tokens were added to it.
    pub(crate) fn write_tokenizer(&self, dataset: &Path) -> Result<()> {
        if self.tokenizer.added_tokens.is_empty() {
            return Ok(());
        }
        let folder = dataset.join(TOKENIZER_FOLDER);
        std::fs::create_dir(&folder).foreign()?;
        self.tokenizer.write(&folder)?;
        Ok(())
    }

    /// What is said of a template that can't be used.
    pub(crate) fn unfit_template(&self, fault: &str) -> Error {
        unfit_template(&self.origin, fault)
    }
}

fn unfit_template(origin: &str, fault: &str) -> Error {
    Error::new(format!("the chat template of {origin} can't be used: {fault}")).hint(
        "give a template that says the same in plainer Jinja: --template FILE; the model must then be used with that one",
    )
}
