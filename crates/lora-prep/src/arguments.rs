//! What rows give their chat template beside messages and tools, and how it goes on with the dataset.
use crate::common::Common;
use lora_checkpoint::Chat;
use lora_cli::Ui;
use lora_data::with_defaults;
use serde_json::{Map, Value};

/// What becomes of it.
pub(crate) enum Arguments {
    /// Rows give nothing.
    Nothing,
    /// All rows give the same, and the template that goes with them has it where nothing else is said.
    Carried(Map<String, Value>),
    /// Rows give different things, or what no template can be given as a text.
    Left,
}

impl Arguments {
    /// The dataset's chats with what all rows give in the template.
    pub(crate) fn take_along(chat: Chat, rows: Common<Map<String, Value>>) -> (Chat, Self) {
        let differ = rows.differ;
        let Some(all) = rows.of_all() else {
            return (chat, if differ { Self::Left } else { Self::Nothing });
        };
        if all.is_empty() {
            return (chat, Self::Nothing);
        }
        let source = chat.template.as_deref();
        match source.and_then(|source| with_defaults(source, &all)) {
            None => (chat, Self::Left),
            Some(source) => {
                let template = Some(source);
                (Chat { template, ..chat }, Self::Carried(all))
            }
        }
    }

    pub(crate) fn say(&self, ui: &Ui) {
        match self {
            Self::Nothing => {}
            Self::Carried(all) => {
                let all = all.iter().map(|(name, value)| format!("{name}: {value}"));
                let all = all.collect::<Vec<_>>().join(", ");
                ui.say(&format!(
                    "all rows give the template {all}: the template that goes with them has it where nothing else is said"
                ));
            }
            Self::Left => ui.warn(
                "rows give their template different things (chat_template_kwargs): chats with what is trained are written with \
                 none of them, unless the one who asks gives them, too",
            ),
        }
    }
}
