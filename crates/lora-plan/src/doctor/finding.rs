//! A finding: what is wrong, how one sees it, and what to change.
use crate::run::CommandLine;
use serde::Serialize;

/// What may be wrong, in the order of the likely effect of mending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A step ended in an error.
    Failed,
    /// The run did not finish.
    Unfinished,
    /// Files are not what their tool wrote, or can't be read.
    Damaged,
    /// A report or a model was made from an earlier adapter.
    Outdated,
    /// Next to nothing is supervised.
    MaskCoversAnswer,
    /// The prompt is learned too.
    PromptInLoss,
    /// The completions are one and the same.
    AllEqual,
    /// The answers are of other prompts.
    AnswersOfOtherPrompts,
    /// Few tokens are supervised, or held out.
    FewSupervised,
    /// Held-out prompts also train.
    Leakage,
    /// The loss explodes or jumps.
    RateTooHigh,
    /// The weights hardly move.
    RateTooLow,
    /// The rate never reaches its peak.
    WarmupNeverEnds,
    /// s = α/r is next to nothing.
    ScaledAway,
    /// Too few modules carry an adapter.
    FewModules,
    /// The base knows the answers.
    NothingToLearn,
    /// The loss does not fall, and nothing else explains it.
    NotLearning,
    /// The valid loss rises while the train loss falls.
    Overfitting,
    /// Nearly every step is clipped.
    Clipped,
    /// Rows stand more than once.
    Duplicates,
    /// Rows have no end that could be learned.
    NoEndOfTurn,
    /// Answers don't stop.
    EndlessAnswers,
    /// Most rows were refused.
    RowsRefused,
    /// The loss still fell at the end.
    StoppedEarly,
    /// No better than the base.
    NoBetterThanBase,
    /// Rounding took a part of the adapter.
    MergeLost,
    /// A merged or exported model does worse than base and adapter.
    ExportLost,
}

/// Something that is wrong with a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub cause: Cause,
    /// One line for people.
    pub title: String,
    /// What shows it, figures first.
    pub evidence: Vec<String>,
    /// What to try, the most promising first.
    pub changes: Vec<Change>,
}

/// Something to try.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What, and why it may help.
    pub what: String,
    /// The command that does it, if one does. Its output has a name that nothing else has, so all may be run.
    pub command: Option<CommandLine>,
}

impl Finding {
    /// Without evidence and changes yet.
    pub(crate) fn new(cause: Cause, title: impl Into<String>) -> Self {
        Self {
            cause,
            title: title.into(),
            evidence: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Adds what shows it.
    pub(crate) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Adds what shows it, if there is something.
    pub(crate) fn seen_if(mut self, evidence: Option<String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// Adds something to try.
    pub(crate) fn attempt(mut self, what: impl Into<String>, command: Option<CommandLine>) -> Self {
        self.changes.push(Change {
            what: what.into(),
            command,
        });
        self
    }
}
