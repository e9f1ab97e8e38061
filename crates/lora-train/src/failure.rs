//! What went wrong in a run, with the flag that helps.
use lora_cli::Error;
use std::path::Path;

/// A failure of the training as people see it.
pub(crate) fn explain(error: lora_training::Error) -> Error {
    use lora_training::Error as Cause;
    let hint = match &error {
        Cause::Interrupted { .. } => return Error::interrupted(),
        Cause::NotFinite { .. } => {
            "a lower --lr or a longer --warmup usually helps; checkpoints so far are kept"
        }
        Cause::ZeroGradient { .. } => {
            "this tensor would never train: choose other --targets, or report it as a bug"
        }
        Cause::Checkpoint { .. } => "start over with --force",
        Cause::OtherRun { .. } => {
            let hint = "use the same flags and inputs to continue it, or --force without --resume to start over";
            return Error::new(format!("--resume: {error}")).hint(hint);
        }
        _ => return error.into(),
    };
    Error::from(error).hint(hint)
}

/// An error of the operating system, with what was tried on which path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let message = format!("failed to {action} {}", path.display());
    move |error| Error::foreign(error).context(message)
}
