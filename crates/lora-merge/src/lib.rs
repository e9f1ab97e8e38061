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
mod weights;
mod write;

pub use args::{Args, Combine, Dtype};

use lora_cli::{Common, Result, Status, ToolArgs, Ui};
use std::time::Instant;

impl ToolArgs for Args {
    fn check(&self) -> Result<()> {
        combine::check_arguments(self)
    }

    fn common(&self) -> &Common {
        &self.common
    }
}

/// Compares, combines, or merges and checks; only what is whole becomes final.
pub fn run(mut args: Args, ui: &Ui) -> Result<Status> {
    let started = Instant::now();
    combine::check_arguments(&args)?;
    inputs::resolve(&mut args)?;
    if !args.diff.is_empty() {
        diff::run(&args, ui)?;
        return Ok(Status::Done);
    }
    let output = write::stage(&args)?;
    if args.to_adapter {
        ui.receipt(&adapter_out::run(&args, output, started, ui)?);
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
    let receipt = write::commit(output, &args, inputs, &moved, check.as_ref(), started)?;
    ui.receipt(&receipt);
    Ok(Status::Done)
}
