//! The running step before people's eyes: the progress that its tool tells.
use lora_cli::{Progress, Ui};
use lora_records::Progress as Told;

/// The bar of the work that the tool does now.
#[derive(Debug)]
pub(crate) struct Live {
    ui: Ui,
    step: String,
    bar: Option<(String, u64, Progress)>,
}

impl Live {
    /// Nothing is shown yet.
    pub(crate) fn new(ui: &Ui, step: &str) -> Self {
        Self {
            ui: ui.clone(),
            step: step.to_owned(),
            bar: None,
        }
    }

    /// Shows what the tool told.
    pub(crate) fn show(&mut self, told: &Told) {
        let is_another = self
            .bar
            .as_ref()
            .is_none_or(|(label, done, _)| *label != told.label || *done > told.done);
        if is_another {
            self.bar = None; // takes the old one away first
            let label = format!("  {}: {}", self.step, told.label);
            let bar = self.ui.progress(&label, told.total, &told.unit);
            // A tool goes back to the work that it was at: the rate counts what is done from here on.
            bar.already(told.done);
            self.bar = Some((told.label.clone(), told.done, bar));
        }
        if let Some((_, done, bar)) = &mut self.bar {
            bar.message(told.message.clone());
            bar.inc(told.done.saturating_sub(*done));
            *done = told.done;
        }
        if told.ended {
            self.bar = None;
        }
    }
}
