//! Rows of more tokens than a model or its memory takes: refused, or made shorter in a way that is asked for.
use crate::conversation::Conversation;
use crate::encode::{Encoded, Encoder};
use crate::messages::role;
use crate::note::Note;
use crate::record::{Content, Record};
use crate::refusal::Refusal;
use crate::{Example, IGNORE};
use std::str::FromStr;

/// What is done with rows that are too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlength {
    /// The row is refused.
    #[default]
    Refuse,
    /// The oldest turns of a chat are taken out until it fits; the system message and the last question stay.
    DropTurns,
    /// Tokens are taken off the start.
    TruncateLeft,
    /// Tokens are taken off the end, and with them the end of the answer.
    Truncate,
}

impl FromStr for Overlength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "drop-turns" => Ok(Self::DropTurns),
            "truncate-left" => Ok(Self::TruncateLeft),
            "truncate" => Ok(Self::Truncate),
            _ => Err("refuse, drop-turns, truncate-left or truncate".to_owned()),
        }
    }
}

impl Encoder {
    /// Encodes a record in at most `most` tokens.
    pub fn encode_within(
        &self,
        record: &Record,
        most: usize,
        policy: Overlength,
    ) -> Result<Encoded, Refusal> {
        let mut made = self.encode_noted(record)?;
        if made.example.len() <= most {
            return Ok(made);
        }
        match policy {
            Overlength::Refuse => return Err(Refusal::TooLong(most)),
            Overlength::DropTurns => return self.without_old_turns(record, most),
            Overlength::TruncateLeft => {
                let from = made.example.len() - most;
                made.notes.push(Note::CutLeft);
                made.example.input_ids.drain(..from);
                made.example.labels.drain(..from);
            }
            Overlength::Truncate => {
                made.notes.push(Note::CutRight);
                made.example.input_ids.truncate(most);
                made.example.labels.truncate(most);
            }
        }
        if made.example.supervised() == 0 {
            return Err(Refusal::TooLong(most));
        }
        self.retell(&mut made.example)?;
        Ok(made)
    }

    fn without_old_turns(&self, record: &Record, most: usize) -> Result<Encoded, Refusal> {
        let made = |turns| -> Result<Option<Encoded>, Refusal> {
            let made = self.encode_noted(&without(record, turns))?;
            Ok((made.example.len() <= most).then_some(made))
        };
        let (mut too_few, mut enough) = (0, turns(record));
        let all = match enough {
            0 => None,
            all => made(all)?,
        };
        let mut found = all.ok_or(Refusal::TooLong(most))?;
        // Each turn less makes a chat shorter, so that the fewest are found by halves.
        while enough - too_few > 1 {
            let middle = too_few.midpoint(enough);
            match made(middle)? {
                Some(made) => (enough, found) = (middle, made),
                None => too_few = middle,
            }
        }
        found.notes.push(Note::DroppedTurns);
        Ok(found)
    }

    /// Prompt and completion as the ids say them; the group stays that of the whole row.
    fn retell(&self, example: &mut Example) -> Result<(), Refusal> {
        let start = example.labels.iter().position(|label| *label != IGNORE);
        let (prompt, completion) = example.input_ids.split_at(start.unwrap_or(0));
        (example.prompt, example.completion) = (self.decode(prompt)?, self.decode(completion)?);
        Ok(())
    }
}

/// Turns that can be taken out of a record.
fn turns(record: &Record) -> usize {
    let Content::Chat(chat) = &record.content else {
        return 0;
    };
    let mut chat = chat.clone();
    std::iter::from_fn(|| chat.drop_turn().then_some(())).count()
}

/// A record without its oldest turns.
fn without(record: &Record, turns: usize) -> Record {
    let mut record = record.clone();
    if let Content::Chat(chat) = &mut record.content {
        (0..turns).for_each(|_| {
            chat.drop_turn();
        });
    }
    record
}

impl Conversation {
    /// Takes out the oldest question with all that follows it up to the next; false if it is the last one.
    fn drop_turn(&mut self) -> bool {
        let is_question = |at: &usize| role(&self.messages[*at]) == "user";
        let end = self.completion.unwrap_or(self.messages.len());
        let last_answer = self
            .messages
            .iter()
            .rposition(|one| role(one) == "assistant");
        let mut questions = (0..end.min(last_answer.unwrap_or(0))).filter(is_question);
        let (Some(first), Some(next)) = (questions.next(), questions.next()) else {
            return false;
        };
        self.messages.drain(first..next);
        self.as_text.drain(first..next);
        self.marks.drain(first..next);
        self.completion = self.completion.map(|start| start - (next - first));
        true
    }
}
