//! What a library's error tells a person.

/// An error as a person reads it: what is wrong and, on a line of its own, the hint.
pub trait Told {
    /// `message`, or `message\nhint: …`.
    fn told(&self) -> String;
}

impl<E: miette::Diagnostic> Told for E {
    fn told(&self) -> String {
        match self.help() {
            Some(hint) => format!("{self}\nhint: {hint}"),
            None => self.to_string(),
        }
    }
}
