//! Where the run writes, and what an earlier run has left there.
use crate::args::Args;
use lora_cli::{Error, Result};
use lora_receipt::Staged;
use lora_training::state_file;

/// The output folder; an interrupted run in it is continued with --resume, thrown away with --force, else refused.
pub(crate) fn stage(args: &Args) -> Result<Staged> {
    let mut staged = Staged::resume_folder(&args.out, args.force)?;
    let interrupted = state_file(staged.path()).exists();
    if args.resume && interrupted {
        return Ok(staged);
    }
    if interrupted && !args.force {
        staged.keep_partial();
        return Err(Error::new(format!(
            "{} holds an interrupted run",
            staged.path().display()
        ))
        .hint("--resume continues it, --force starts over"));
    }
    drop(staged);
    Ok(Staged::folder(&args.out, args.force)?)
}
