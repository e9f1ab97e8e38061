//! What the tools write for each other, and what people write for lora-run.
use crate::files::written;
use lora_receipt::Receipt;

pub(crate) fn receipt(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(receipt) = Receipt::parse(&text, "stdin") {
        let again = serde_json::to_string(&receipt).unwrap();
        Receipt::parse(&again, "stdin").expect("what was written is read");
    }
}

pub(crate) fn metrics(bytes: &[u8]) {
    let path = written("metrics.jsonl", bytes);
    for finished in [true, false] {
        let _ = lora_records::read_metrics(path.parent().unwrap(), finished);
    }
}

pub(crate) fn report(bytes: &[u8]) {
    let path = written("report.json", bytes);
    if let Ok(report) = lora_records::Report::read(path.parent().unwrap()) {
        let _ = report.base_model();
    }
}

pub(crate) fn predictions(bytes: &[u8]) {
    let path = written("predictions.jsonl", bytes);
    let _ = lora_records::read_predictions(path.parent().unwrap());
}

pub(crate) fn event(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let _ = lora_records::Event::parse(line);
    }
}

/// Parsed and resolved; nothing that it names is opened or run.
pub(crate) fn pipeline(bytes: &[u8]) {
    let _ = lora_run::check(&written("p.yaml", bytes));
}
