//! What a typed line says: a message, or a command that starts with `/`.

/// Commands and what they do, for people.
pub(crate) const HELP: &str = "\
/base           the base answers
/adapter NAME   this adapter answers (its number does, too); without a name: lists them
/both           base and adapter answer, one after the other; the adapter's answer stays in the chat
/system TEXT    sets the system message and starts again; without a text: back to the model's own
/reset          starts again
/help           this
/quit           leaves, as Ctrl-D does

Ctrl-C stops an answer. A line that ends in \\ goes on in the next one. // starts a message with a slash.";

/// A typed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Nothing.
    Empty,
    /// A message to the model.
    Message(String),
    /// `/base`
    Base,
    /// `/adapter NAME`
    Adapter(String),
    /// `/both`
    Both,
    /// `/system TEXT`; none takes the model's own.
    System(Option<String>),
    /// `/reset`
    Reset,
    /// `/help`
    Help,
    /// `/quit`
    Quit,
    /// Not a command.
    Unknown(String),
}

impl Line {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Self {
        let line = line.trim();
        if let Some(message) = line.strip_prefix("//") {
            return Self::Message(format!("/{message}"));
        }
        let Some(command) = line.strip_prefix('/') else {
            return match line {
                "" => Self::Empty,
                message => Self::Message(message.to_owned()),
            };
        };
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("adapter", name) => Self::Adapter(name.to_owned()),
            ("system", "") => Self::System(None),
            ("system", text) => Self::System(Some(text.to_owned())),
            ("base", "") => Self::Base,
            ("both", "") => Self::Both,
            ("reset", "") => Self::Reset,
            ("help", "") => Self::Help,
            ("quit" | "exit", "") => Self::Quit,
            _ => Self::Unknown(line.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        for (line, wanted) in [
            ("  hello ", Line::Message("hello".to_owned())),
            ("", Line::Empty),
            (
                "//etc is a folder",
                Line::Message("/etc is a folder".to_owned()),
            ),
            ("/adapter  a b", Line::Adapter("a b".to_owned())),
            ("/adapter", Line::Adapter(String::new())),
            (
                "/system be brief",
                Line::System(Some("be brief".to_owned())),
            ),
            ("/system", Line::System(None)),
            ("/quit", Line::Quit),
            ("/base now", Line::Unknown("/base now".to_owned())),
            ("/bose", Line::Unknown("/bose".to_owned())),
        ] {
            assert_eq!(Line::parse(line), wanted, "{line}");
        }
    }
}
