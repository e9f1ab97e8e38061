//! lora-export: models and adapters in the files that other programs run: GGUF for llama.cpp, folders for transformers, PEFT
//! and mlx-lm.
//!
//! This file holds the command line and the order of the work; `model`, `gguf_adapter` and `adapter_folder` each write one
//! kind of file.
mod adapter_folder;
mod args;
mod compare;
mod divergence;
mod dtype;
mod gguf_adapter;
mod importance;
mod inputs;
mod model;
mod modelfile;
mod next;
mod output;
mod verify;

pub use args::{Args, Format};
pub use dtype::Dtype;

use inputs::Source;
use lora_cli::{Common, Result, Status, ToolArgs, Ui};

impl ToolArgs for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Exports.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    inputs::resolve(&mut args)?;
    let source = inputs::open(&args, ui)?;
    args.dtype = Some(args.dtype.map_or_else(|| source.default_dtype(), Ok)?); // the receipt names the chosen type
    inputs::refuse_impossible(&args, &source)?;
    if !args.compare.is_empty() {
        compare::run(&args, &source, ui)?;
        return Ok(Status::Done);
    }
    let served = inputs::served(&args, &source, ui)?;
    let chat = args
        .modelfile
        .then(|| modelfile::translate(source.model(), &served))
        .transpose()?;
    let output = output::stage(&args, &source)?;
    output.check_base(&args, &source, ui)?;
    let importance = importance::of(&args, &source, ui)?;
    let mut results = match &source {
        Source::Model(checkpoint) => {
            model::write(&args, checkpoint, importance.as_ref(), &output, ui)?
        }
        Source::Adapter(base, adapter) if args.format == Format::Gguf => {
            let metadata = match served.adapter {
                Some(_) => served.chat.metadata(),
                None => Vec::new(),
            };
            gguf_adapter::write(&args, base.checkpoint(), adapter, metadata, &output, ui)?
        }
        Source::Adapter(base, adapter) => {
            let results = adapter_folder::write(&args, base, adapter, &output, ui)?;
            adapter_folder::write_chat(base, &served, &output)?;
            results
        }
    };
    results["chat"] = served.result();
    if let Some(chat) = &chat {
        modelfile::write(chat, &source, &output, ui)?;
    }
    let verdict = match &args.verify {
        Some(_) => verify::run(&args, &source, &output.path, &mut results, ui)?,
        None => Status::Done,
    };
    source.model().check_unchanged()?;
    output.commit(&args, results, ui)?;
    if matches!(verdict, Status::Done) {
        let lines = next::commands(&args, &source, &served);
        lines
            .iter()
            .for_each(|line| ui.say(&format!("next: {line}")));
    }
    Ok(verdict)
}
