//! Where the run writes, and what an earlier run has left there.
use crate::args::Args;
use crate::choices::Method;
use crate::failure::explain;
use lora_cli::{Error, Result, Ui};
use lora_receipt::{Staged, partial_path};
use lora_training::{has_checkpoint, tidy};

/// Refuses what would be refused in the end, before anything is opened: a finished or an interrupted run in the way.
pub(crate) fn check(args: &Args) -> Result<()> {
    lora_receipt::recover(&args.out)?;
    let (out, partial) = (args.out.display(), partial_path(&args.out));
    let is_interrupted = has_checkpoint(&partial);
    let is_finished = args.out.join(lora_receipt::FILE_NAME).is_file();
    if args.resume && is_finished && !partial.exists() {
        return Err(
            Error::new(format!("{out} is finished: there is nothing to resume")).hint(go_on(args)),
        );
    }
    let partial = partial.display();
    if args.resume && is_finished && is_interrupted && !args.force {
        return Err(Error::new(format!(
            "{out} is finished, and {partial} holds an interrupted run"
        ))
        .hint(format!(
            "--resume --force continues that run and lets it replace {out} in the end"
        )));
    }
    if is_interrupted && !args.resume && !args.force {
        return Err(Error::new(format!("{partial} holds an interrupted run"))
            .hint("--resume continues it, --force starts over and throws its checkpoints away"));
    }
    Ok(())
}

/// How a finished run is trained further.
fn go_on(args: &Args) -> String {
    let out = args.out.display();
    let (flag, keeps) = match args.method {
        Method::Lora => (
            "--adapter",
            " (it keeps its rank, alpha and targets: leave those flags out)",
        ),
        Method::Full => ("--base", ""),
    };
    format!(
        "to train it further: {flag} {out} --out ANOTHER, without --resume{keeps}; to train it anew: --force without --resume, which replaces it"
    )
}

/// The output folder; an interrupted run in it is continued with --resume, thrown away with --force.
pub(crate) fn stage(args: &Args, ui: &Ui) -> Result<Staged> {
    check(args)?;
    if args.resume {
        let partial = partial_path(&args.out);
        let was_there = partial.exists();
        let mut staged = Staged::resume_folder(&args.out, args.force)?;
        if has_checkpoint(staged.path()) {
            staged.keep_partial();
            tidy(staged.path()).map_err(explain)?;
            return Ok(staged);
        }
        let partial = partial.display();
        ui.warn(&if was_there {
            format!("--resume: {partial} holds no checkpoint yet: starting from the beginning")
        } else {
            format!("--resume: there is no {partial} to continue: starting from the beginning")
        });
    }
    Ok(Staged::folder(&args.out, args.force)?)
}
