//! The text of an answer as it grows: what is certain of it, where a stop text cuts it, and why it ended.

/// An answer, and why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) tokens: usize,
    pub(crate) end: End,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The model ended it, or a stop text did.
    Stop,
    /// It had no more tokens.
    Length,
    /// The person stopped it.
    Stopped,
}

impl End {
    /// As the chat-completions protocol names it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Stopped => "stopped",
        }
    }
}

/// A text that grows token by token; what may still change is held back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Growing {
    text: String,
    shown: usize,
    tokens: usize,
    is_ended: bool,
}

impl Growing {
    /// Takes the text so far and hands on what is certain of it; true if a stop text ended it.
    pub(crate) fn grow(
        &mut self,
        text: String,
        tokens: usize,
        stop: &[String],
        show: &mut dyn FnMut(&str),
    ) -> bool {
        self.text = text;
        self.tokens = tokens;
        if let Some(end) = stop.iter().filter_map(|stop| self.text.find(stop)).min() {
            self.text.truncate(end);
            self.is_ended = true;
        } else {
            let certain = certain(&self.text, stop);
            self.show(certain, show);
        }
        self.is_ended
    }

    fn show(&mut self, end: usize, show: &mut dyn FnMut(&str)) {
        if let Some(new) = self.text.get(self.shown..end).filter(|new| !new.is_empty()) {
            show(new);
            self.shown = end;
        }
    }

    pub(crate) fn finish(
        mut self,
        most: usize,
        is_stopped: bool,
        show: &mut dyn FnMut(&str),
    ) -> Answer {
        self.show(self.text.len(), show);
        let end = match (self.is_ended, is_stopped, self.tokens >= most) {
            (true, _, _) => End::Stop,
            (_, true, _) => End::Stopped,
            (_, _, true) => End::Length,
            _ => End::Stop,
        };
        Answer {
            text: self.text.trim().to_owned(),
            tokens: self.tokens,
            end,
        }
    }
}

/// Bytes of a text that no further token changes: without half a character at its end, and without what may be the start
/// of a stop text.
fn certain(text: &str, stop: &[String]) -> usize {
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
    let is_start = |at: &usize| {
        text.is_char_boundary(*at) && stop.iter().any(|stop| stop.starts_with(&text[*at..whole]))
    };
    let longest = stop.iter().map(String::len).max().unwrap_or(0);
    let from = whole.saturating_sub(longest);
    (from..whole).find(is_start).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parts: &[&str], stop: &[&str]) -> (Vec<String>, Answer) {
        let stop: Vec<String> = stop.iter().map(|text| (*text).to_owned()).collect();
        let mut growing = Growing::default();
        let mut shown = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if growing.grow((*part).to_owned(), at + 1, &stop, &mut |new| {
                shown.push(new.to_owned())
            }) {
                break;
            }
        }
        let answer = growing.finish(10, false, &mut |new| shown.push(new.to_owned()));
        (shown, answer)
    }

    #[test]
    fn half_a_character_is_held_back() {
        let (parts, answer) = shown(&["a", "a\u{fffd}", "aé", "aé."], &[]);
        assert_eq!(
            (parts.concat().as_str(), answer.text.as_str()),
            ("aé.", "aé.")
        );
        assert_eq!(parts, ["a", "é", "."]);
    }

    #[test]
    fn the_start_of_a_stop_text_is_held_back_and_the_stop_is_never_shown() {
        let (parts, answer) = shown(&["yes", "yes\n", "yes\n\n", "no"], &["\n\n"]);
        assert_eq!(
            (parts, answer.text.as_str(), answer.end),
            (vec!["yes".to_owned()], "yes", End::Stop)
        );
        let (parts, answer) = shown(&["yes\n", "yes\nno"], &["\n\n"]);
        assert_eq!((parts.concat(), answer.tokens), ("yes\nno".to_owned(), 2));
    }

    #[test]
    fn an_answer_says_why_it_ended() {
        let mut growing = Growing::default();
        growing.grow("abc".to_owned(), 3, &[], &mut |_| {});
        assert_eq!(
            growing.clone().finish(3, false, &mut |_| {}).end,
            End::Length
        );
        assert_eq!(
            growing.clone().finish(9, true, &mut |_| {}).end,
            End::Stopped
        );
        assert_eq!(growing.finish(9, false, &mut |_| {}).end, End::Stop);
    }
}
