//! README.md of the output: a short model card, the same for the same run.
use crate::args::Args;
use crate::choices::Method;
use lora_training::Outcome;
use std::fmt::Write as _;

/// Renders the card.
pub(crate) fn render(args: &Args, outcome: &Outcome, summary: &str, added: &[String]) -> String {
    let state = &outcome.state;
    let (kind, library) = match args.method {
        Method::Lora => ("LoRA adapter", "peft"),
        Method::Full => ("model", "transformers"),
    };
    let base = args.base.display();
    let mut text = format!(
        "---\nbase_model: {}\nlibrary_name: {library}\npipeline_tag: text-generation\n",
        serde_json::Value::from(base.to_string())
    );
    if args.method == Method::Lora {
        text += "tags: [lora]\n";
    }
    let _ = write!(
        text,
        "---\n# A {kind} by lora-train {}\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let _ = write!(
        text,
        "Base `{base}`, data `{}`.\n\n`{}`\n\n",
        args.data.display(),
        summary
    );

    if !added.is_empty() {
        let _ = write!(
            text,
            "Tokens added to the base: {}. This folder's tokenizer knows them; before PEFT loads the adapter the base needs \
             rows for them: `model.resize_token_embeddings(len(tokenizer))`.\n\n",
            added.join(", ")
        );
    }
    text += "| result | |\n|---|---|\n";
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    row(
        "steps",
        format!("{} ({:.2} epochs)", state.step, state.epoch),
    );
    row(
        "tokens",
        format!(
            "{}, {} of them supervised",
            state.tokens, state.supervised_tokens
        ),
    );
    row(
        "tokens computed (beginnings in common once)",
        format!("{}", state.computed_tokens),
    );
    row(
        "training loss, first and last step",
        format!("{:.4}, {:.4}", state.first_loss, state.last_loss),
    );
    match (state.best, state.valid_loss) {
        (Some(best), Some(last)) => {
            row(
                "held-out loss, best",
                format!("{:.4} after step {}: these weights", best.loss, best.step),
            );
            row(
                "held-out loss, last",
                format!("{last:.4}: `checkpoints/last`"),
            );
        }
        _ => row(
            "held-out loss",
            "not measured: the data has no valid split".to_owned(),
        ),
    }
    if state.stopped_early {
        row(
            "stopped early",
            format!("yes, of {} steps planned", outcome.total_steps),
        );
    }
    text += "\nThe loss is the mean over supervised tokens, in nats. Every step and evaluation is in `metrics.jsonl`; every\n\
             input's hash is in `receipt.json`.\n\n| flag | value |\n|---|---|\n";
    for (flag, value) in flags(args) {
        let _ = writeln!(text, "| --{flag} | {value} |");
    }
    text
}

/// Every flag that was in force.
fn flags(args: &Args) -> Vec<(String, String)> {
    let Ok(serde_json::Value::Object(map)) = serde_json::to_value(args) else {
        return Vec::new();
    };
    let show = |value: serde_json::Value| match value {
        serde_json::Value::Null => None,
        serde_json::Value::Bool(false) => None,
        serde_json::Value::Array(items) if items.is_empty() => None,
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Array(items) => Some(
            items
                .iter()
                .filter_map(|v| v.as_str())
                .collect::<Vec<_>>()
                .join(",")
                .replace('|', "\\|"),
        ),
        other => Some(other.to_string()),
    };
    map.into_iter()
        .filter(|(key, _)| key != "threads")
        .filter_map(|(key, v)| Some((key, show(v)?)))
        .collect()
}
