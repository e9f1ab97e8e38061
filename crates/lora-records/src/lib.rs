//! What the tools tell each other, as types that writer and reader share: metrics.jsonl, report.json,
//! predictions.jsonl, and the events on stdout. No ML and no printing live here.
//!
//! Within a version fields may be added, and a reader ignores what it does not know. Where a field goes away or changes
//! its meaning, the version rises, and a reader refuses what it does not know.
mod description;
mod error;
mod event;
mod figures;
mod lines;
mod metrics;
mod predictions;
mod report;

pub use description::{Description, Flag, Kind, Refusal, Role};
pub use error::Error;
pub use event::{Event, Failure, Progress, Warning};
pub use figures::{
    Chance, Change, Difference, Figure, Guard, GuardModel, MetricChange, Slice, SliceModel, Verdict,
};
pub use metrics::{EvalMetric, Metric, StepMetric, metric_lines_until, read_metrics};
pub use predictions::{Answer, Prediction, read_predictions};
pub use report::{
    Comparison, ExactDifference, ExactMatch, GateResult, Generation, ModelReport, Report,
    TokenAccuracy,
};
