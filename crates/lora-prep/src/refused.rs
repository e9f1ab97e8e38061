//! What helps when all rows are refused.
use crate::Args;

/// The way out when all rows are refused for a reason. None of them changes what an instruct model is used to.
pub(crate) fn hint(reason: &str, args: &Args) -> &'static str {
    let about_system = reason.to_lowercase().contains("system");
    match reason {
        reason if reason.starts_with("longer than") => {
            "raise --max-length, or let --overlength drop turns or truncate"
        }
        reason if reason.starts_with("prompt and completion share") => {
            "move the space at the end of the prompt to the start of the completion"
        }
        reason if reason.starts_with("the chat template refuses") && about_system => {
            match args.system {
                Some(_) => {
                    "leave --system out, or add --system-into-user: this model's chats have no system message, and the \
                     text then stands at the start of the first user message"
                }
                None => {
                    "this model's chats have no system message: --system-into-user puts its text at the start of the \
                     first user message"
                }
            }
        }
        reason if reason.contains("the model has none") => {
            "without a template a row is one question and one answer: split the chats, or name the template that the model \
             is going to be used with: --template FILE"
        }
        reason if reason.contains("'tool_use'") => {
            "--template-name tool_use writes all rows with it; rows without tools go into a dataset of their own"
        }
        reason if reason.contains("strftime_now") => {
            "the template writes today's date: --date 2026-11-27 says which one"
        }
        reason if reason.starts_with("the chat template leaves out") => {
            "a template that writes it helps if the model is then used with it (--template FILE); --ignore KEY takes the \
             key out of the rows, where it is not to be learned"
        }
        reason if reason.contains("holds the control token") => {
            "--special-in-text escape tokenises its characters as text, keep takes it as the token"
        }
        reason if reason.contains("tree (OASST)") => {
            "no flag joins a tree's messages: each row must be a whole path from question to answer"
        }
        reason if reason.starts_with('\'') && reason.contains("' is ") => {
            "--ignore KEY leaves a key out, --columns and --prompt-template say which others are meant"
        }
        "no message of it is to be learned" => {
            "its messages are marked with a weight, train or loss of 0, or --learn names roles that it has not"
        }
        reason if reason.starts_with("the chat template") => {
            "change the rows as the template asks; another one (--template FILE) helps only if the model is then used with it"
        }
        "the prompt is empty" => {
            "text without a prompt is written {\"text\": \"…\"}: all of it is learned"
        }
        _ => "see `lora-prep --help` for the rows that can be used",
    }
}
