//! A step that can run.
use crate::resolve::Step;
use crate::tools::Tool;
use std::sync::Arc;

/// A step, its tool and its command line: checked, ready to run.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) step: Step,
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) arguments: Vec<String>,
}
