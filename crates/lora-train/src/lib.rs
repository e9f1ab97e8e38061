//! lora-train.
use lora_cli::{Common, Result, Status, ToolArgs, Ui};

/// Arguments.
#[derive(Debug, clap::Parser, serde::Serialize)]
#[command(name = "lora-train", version)]
pub struct Args {
    /// Output flags.
    #[command(flatten)]
    #[serde(skip)]
    pub common: Common,
}

impl ToolArgs for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Runs the tool.
pub fn run(_args: Args, _ui: &Ui) -> Result<Status> {
    todo!()
}
