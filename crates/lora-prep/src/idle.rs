//! Flags that changed nothing in any row, for whoever gave them meant something by it; and the one that does not go on.
use crate::Args;
use crate::prepared::Prepared;
use crate::row::Worker;
use lora_cli::Ui;

/// What templates call for today's date.
const TODAY: &str = "strftime_now";

/// Warns of flags without effect.
pub(crate) fn warn(args: &Args, worker: &Worker, prepared: &Prepared, ui: &Ui) {
    for key in worker.never_ignored() {
        ui.warn(&format!("--ignore {key}: no row has this key"));
    }
    let template = worker.model.encoder.template();
    let asks = template.is_some_and(|source| source.contains(TODAY));
    if let Some(date) = &args.date {
        match asks {
            true => ui.say(&format!(
                "the rows are written with the date {date}: lora-chat --date {date} asks so, other programs write their own day's"
            )),
            false => ui.warn(&format!(
                "--date {date} changes nothing: no chat template here asks for today's date"
            )),
        }
    }
    if prepared.train.with_prompt > 0 {
        return;
    }
    let of_chats = [
        ("--system", args.system.is_some()),
        ("--system-into-user", args.system_into_user),
        ("--learn", args.learn.is_some()),
    ];
    for (flag, _) in of_chats.into_iter().filter(|(_, given)| *given) {
        ui.warn(&format!(
            "{flag} changes nothing: the rows to train on are text without roles"
        ));
    }
}
