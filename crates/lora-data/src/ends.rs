//! The token that ends an answer, as rows teach it.
use crate::encode::Encoder;
use crate::record::Record;
use crate::template::ChatTemplate;
use lora_checkpoint::{Chat, ModelConfig, TokenizerBundle};
use serde_json::json;

impl Encoder {
    /// The special token at the end of an answer; none if nothing special ends one, or the template refuses a plain chat.
    #[must_use]
    pub fn end_of_answers(&self) -> Option<u32> {
        let turn = Record::from_json(&json!({"prompt": "a", "completion": "b"})).ok()?;
        let row = self.encode(&turn).ok()?;
        self.ends_turn(&row)
            .then(|| row.input_ids.last().copied())?
    }
}

/// The token with which answers of these chats end, if it is none of those at which the model stops.
#[must_use]
pub fn end_beyond_model(model: &ModelConfig, bundle: &TokenizerBundle, chat: &Chat) -> Option<u32> {
    let (bos, eos) = (bundle.bos_token.as_deref(), bundle.eos_token.as_deref());
    let template = match &chat.template {
        Some(source) => Some(ChatTemplate::new(source, bos, eos).ok()?),
        None => None,
    };
    let encoder = Encoder::new(bundle, template, None).ok()?;
    let end = encoder.end_of_answers()?;
    (!model.eos_token_ids.contains(&end)).then_some(end)
}
