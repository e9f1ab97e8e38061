//! lora-merge: base + adapter → a Hugging Face folder whose weights are round(W + s·B·A), and a check of its logits.
//! Several adapters are combined first; `--to-adapter` stops there, and `--diff` only compares two.
//!
//! This file holds the order of the work; each part has its own file.
mod adapter_out;
mod args;
mod check;
mod combine;
mod diff;
mod inputs;
mod output;
mod weights;
mod write;

pub use args::{Args, Combine, Dtype};

use lora_cli::{Common, Result, Status, ToolArgs, Ui};

impl ToolArgs for Args {
    fn check(&self) -> Result<()> {
        combine::check_arguments(self)?;
        check::check_arguments(self)
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// Compares, combines, or merges and checks; only what is whole becomes final.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    inputs::resolve(&mut args)?;
    if !args.diff.is_empty() {
        diff::run(&args, ui)?;
        return Ok(Status::Done);
    }
    let output = output::stage(&args)?;
    if args.to_adapter {
        adapter_out::run(&args, output, ui)?;
        return Ok(Status::Done);
    }
    let inputs = inputs::open(&args, ui)?;
    args.dtype = Some(inputs.dtype); // the receipt names the type that was chosen
    let moved = match inputs.dtype {
        Dtype::Base => write::gguf(output.path(), &inputs, ui)?,
        _ => write::folder(output.path(), &inputs, ui)?,
    };
    write::report(&moved, &inputs, ui);
    let check = check::run(&args, output.path(), &inputs, &moved, ui)?;
    output::commit(output, &args, inputs, &moved, check.as_ref(), ui)?;
    Ok(Status::Done)
}
