//! Is what came out what went in? The report's verdict, answers that don't stop, what a merge rounded away, models that
//! do worse than their adapter, and outputs of an earlier adapter.
use super::data::show_rows;
use super::finding::{Cause, Finding};
use super::patient::Patient;
use crate::run::{DatasetFacts, Evaluation, output_again};
use lora_receipt::Receipt;

/// A merge that keeps less of the adapter's change has lost something.
const LEAST_KEPT: f64 = 0.9;

/// An adapter that lowers the loss by less than this share of the base's has done nothing, however sure that is.
const LEAST_GAIN: f64 = 0.01;

/// All findings about reports and merged models.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let run = patient.run;
    let data = run.dataset.as_ref();
    let reports = run
        .evaluations
        .iter()
        .flat_map(|report| [no_better(report), endless(report, data)])
        .flatten();
    let outputs = run
        .outdated
        .iter()
        .map(|receipt| outdated(receipt, &run.name));
    let remeasured = run
        .remeasured
        .iter()
        .filter_map(|(model, report)| remeasured(model, report, &run.evaluations));
    outputs
        .chain(reports)
        .chain(run.merges.iter().filter_map(merge_lost))
        .chain(remeasured)
        .collect()
}

/// A report, merge or export of what the folder held before.
fn outdated(receipt: &Receipt, adapter: &str) -> Finding {
    let what = match receipt.tool.as_str() {
        "lora-eval" => "report is about",
        "lora-merge" => "merged model was made from",
        _ => "export was made from",
    };
    Finding::new(
        Cause::Outdated,
        format!("the {what} an earlier adapter, not the one that is there now"),
    )
    .seen(format!(
        "{}: its receipt names other content of {adapter} than lies there",
        receipt.out.display()
    ))
    .attempt("make it again", output_again(receipt, None))
}

/// A merged or exported model that does worse on the same rows than base and adapter did.
fn remeasured(model: &Receipt, report: &Evaluation, adapters: &[Evaluation]) -> Option<Finding> {
    let adapter = adapters
        .iter()
        .find(|adapter| adapter.measured_on == report.measured_on)?;
    let (gained, lost) = (adapter.base_nll - adapter.nll, report.nll - adapter.nll);
    if gained < LEAST_GAIN * adapter.base_nll || lost < (1.0 - LEAST_KEPT) * gained {
        return None;
    }
    let is_merge = model.tool == "lora-merge";
    let made = if is_merge { "merged" } else { "exported" };
    let dtype = model.config["dtype"].as_str().unwrap_or("its type");
    let wider = (dtype != "f32")
        .then(|| output_again(model, Some("f32")))
        .flatten();
    let finding = Finding::new(
        Cause::ExportLost,
        format!("the {made} model does worse than base and adapter"),
    )
    .seen(format!(
        "{}: loss {:.4} on the rows on which base and adapter have {:.4} and the base {:.4} ({})",
        report.folder.display(),
        report.nll,
        adapter.nll,
        adapter.base_nll,
        adapter.folder.display()
    ))
    .seen(format!(
        "{:.0} % of what was gained is lost in {} ({dtype})",
        100.0 * lost / gained,
        model.out.display()
    ));
    let finding = match wider {
        Some(command) => finding.attempt("f32 tells rounding from other causes", Some(command)),
        None => finding,
    };
    Some(finding.attempt(
        "or use base and adapter unmerged: lora-export --adapter writes it for llama.cpp",
        None,
    ))
}

fn no_better(report: &Evaluation) -> Option<Finding> {
    let (_, low, high) = report.difference?;
    if high < -LEAST_GAIN * report.base_nll {
        return None;
    }
    let title = if low > 0.0 {
        "the adapter is worse than the base"
    } else {
        "the adapter is no better than the base"
    };
    let mut finding = Finding::new(Cause::NoBetterThanBase, title).seen(format!(
        "{}: loss {:.4}, the base's {:.4}; 95 % interval of the difference {low:+.4} to {high:+.4}",
        report.folder.display(),
        report.nll,
        report.base_nll
    ));
    for (gate, reason) in &report.failed_gates {
        finding = finding.seen(format!("gate {gate}: {reason}"));
    }
    Some(finding.attempt(
        "mend what stands above first; if nothing does: more rows, a higher rank, more epochs",
        None,
    ))
}

fn endless(report: &Evaluation, data: Option<&DatasetFacts>) -> Option<Finding> {
    let (endless, answers) = report.endless?;
    if answers < 5 || endless * 10 < answers * 3 {
        return None;
    }
    Some(
        Finding::new(Cause::EndlessAnswers, "answers don't stop")
            .seen(format!(
                "{}: {endless} of {answers} answers ran to the limit of tokens",
                report.folder.display()
            ))
            .seen(format!(
                "token accuracy is {:.1} %{}",
                100.0 * report.token_accuracy,
                if report.token_accuracy < 0.7 {
                    ""
                } else {
                    ", so the words are not the trouble"
                }
            ))
            .attempt(
                "check that rows end in the end-of-turn token and that it is supervised",
                data.map(|data| show_rows(&data.path)),
            ),
    )
}

fn merge_lost(receipt: &Receipt) -> Option<Finding> {
    let kept = receipt.results["kept"].as_f64()?;
    if kept >= LEAST_KEPT {
        return None;
    }
    let dtype = receipt.config["dtype"].as_str().unwrap_or("its type");
    let out = receipt.out.display();
    let effect = receipt.results["check"]["kept"].as_f64();
    Some(
        Finding::new(Cause::MergeLost, format!("rounding to {dtype} took a part of the adapter when it was merged"))
            .seen(format!("{out}: {:.0} % of the adapter's change is left in the weights", 100.0 * kept))
            .seen_if(effect.map(|kept| format!("the merged logits keep {:.0} % of the adapter's effect", 100.0 * kept)))
            .attempt(
                "--dtype f32 keeps all of it; or use base and adapter unmerged",
                output_again(receipt, Some("f32")),
            )
            .attempt("a change so small is mostly a learning rate that is too low or a run that is too short", None),
    )
}
