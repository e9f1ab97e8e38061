//! One row's question.

/// One row's question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) prompt: Vec<u32>,
    /// The completion without the stops at its end and without outer white space. An empty one is never matched.
    pub(crate) expected: String,
    /// A stop stands inside the completion: no answer can reach what follows it.
    pub(crate) beyond_stop: bool,
    /// What the metrics compare an answer with: the part of the expected text that counts, and further right answers.
    pub(crate) references: Vec<String>,
}

impl Question {
    /// The text is a right one, and there is something to expect.
    pub(crate) fn is_answered_by(&self, text: &str) -> bool {
        let mut wanted = self.references.iter().filter(|text| !text.is_empty());
        wanted.any(|wanted| wanted == text)
    }
}
