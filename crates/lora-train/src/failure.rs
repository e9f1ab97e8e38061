//! What went wrong in a run, and the flag that helps.
use lora_cli::Error;
use std::path::Path;

/// A failure of the training as people see it.
pub(crate) fn explain(error: lora_training::Error) -> Error {
    use lora_training::Error as Cause;
    let hint = match &error {
        Cause::Interrupted { .. } => return Error::interrupted(),
        Cause::LearnsNothing { .. } => "--warmup 0, or more --steps".to_owned(),
        Cause::ZeroGradient { tensor, .. } => format!(
            "it would never train: a new adapter with --exclude {} trains the others",
            module_of(tensor)
        ),
        Cause::ImpossibleGradient { .. } => {
            "this is a bug in the tool: please report it with the command line".to_owned()
        }
        Cause::Checkpoint { path, .. } => damaged(path),
        Cause::OtherRun { .. } => {
            let hint = "with the same flags and inputs it goes on; another --out leaves it in peace; --force without --resume throws it away";
            return Error::new(format!("--resume: {error}")).hint(hint);
        }
        _ => return error.into(),
    };
    Error::from(error).hint(hint)
}

/// What is not finite, and why: the base if a weight of it is not, the learning rate if steps were taken.
pub(crate) fn explain_not_finite(
    error: lora_training::Error,
    base_tensor: Option<String>,
    checkpoint: Option<&str>,
) -> Error {
    let lora_training::Error::NotFinite { at_start, .. } = error else {
        return explain(error);
    };
    if let Some(tensor) = base_tensor {
        return Error::from(error)
            .context(format!(
                "the base's {tensor} holds values that are not finite (NaN or infinity)"
            ))
            .hint("no flag helps: download or convert the base again");
    }
    let hint = match (at_start, checkpoint) {
        (true, _) => "no step has been taken yet, so the learning rate is not the cause: the numbers overflow in the base or \
                      in the adapter that the run starts from"
            .to_owned(),
        (false, None) => {
            "a lower --lr or a longer --warmup usually helps".to_owned()
        }
        (false, Some(go_on)) => format!(
            "a lower --lr or a longer --warmup usually helps: from the start with --force, or with {go_on} --out ANOTHER from the last good checkpoint"
        ),
    };
    Error::from(error).hint(hint)
}

/// The checkpoint can't be read, but the models beside it can.
fn damaged(state_file: &Path) -> String {
    let last = state_file.with_file_name("last");
    if last.is_dir() {
        format!(
            "the adapter so far lies in {}; --force without --resume starts over",
            last.display()
        )
    } else {
        "--force without --resume starts over".to_owned()
    }
}

/// The module of a tensor of an adapter.
fn module_of(tensor: &str) -> &str {
    let ends = [
        ".lora_A",
        ".lora_B",
        ".lora_embedding_A",
        ".lora_embedding_B",
    ];
    ends.iter()
        .find_map(|end| tensor.strip_suffix(end))
        .unwrap_or(tensor)
}

/// An error of the operating system, with what was tried on which path.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let message = format!("failed to {action} {}", path.display());
    move |error| Error::foreign(error).context(message)
}
