//! Is what came out what went in? The report's verdict, answers that don't stop, and what a merge rounded away.
use super::finding::{Cause, Finding};
use super::patient::Patient;
use crate::run::{Evaluation, quoted};
use lora_receipt::Receipt;

/// A merge that keeps less of the adapter's change has lost something.
const LEAST_KEPT: f64 = 0.9;

/// An adapter that lowers the loss by less than this share of the base's has done nothing, however sure that is.
const LEAST_GAIN: f64 = 0.01;

/// All findings about reports and merged models.
pub(crate) fn findings(patient: &Patient<'_>) -> Vec<Finding> {
    let reports = patient.run.evaluations.iter();
    let reports = reports.flat_map(|report| [no_better(report), endless(report)]).flatten();
    reports.chain(patient.run.merges.iter().filter_map(merge_lost)).collect()
}

fn no_better(report: &Evaluation) -> Option<Finding> {
    let (_, low, high) = report.difference?;
    if high < -LEAST_GAIN * report.base_nll {
        return None;
    }
    let title = if low > 0.0 { "the adapter is worse than the base" } else { "the adapter is no better than the base" };
    let mut finding = Finding::new(Cause::NoBetterThanBase, title).seen(format!(
        "{}: loss {:.4}, the base's {:.4}; 95 % interval of the difference {low:+.4} to {high:+.4}",
        report.folder.display(),
        report.nll,
        report.base_nll
    ));
    for (gate, reason) in &report.failed_gates {
        finding = finding.seen(format!("gate {gate}: {reason}"));
    }
    Some(finding.attempt("mend what stands above first; if nothing does: more rows, a higher rank, more epochs", None))
}

fn endless(report: &Evaluation) -> Option<Finding> {
    let (endless, answers) = report.endless?;
    if answers < 5 || endless * 10 < answers * 3 {
        return None;
    }
    Some(
        Finding::new(Cause::EndlessAnswers, "answers don't stop")
            .seen(format!("{}: {endless} of {answers} answers ran to the limit of tokens", report.folder.display()))
            .seen(format!("token accuracy is {:.1} %, so the words are not the trouble", 100.0 * report.token_accuracy))
            .attempt(
                "check that rows end in the end-of-turn token and that it is supervised: lora-prep show DATASET",
                None,
            ),
    )
}

fn merge_lost(receipt: &Receipt) -> Option<Finding> {
    let kept = receipt.results["kept"].as_f64()?;
    if kept >= LEAST_KEPT {
        return None;
    }
    let dtype = receipt.config["dtype"].as_str().unwrap_or("its type");
    let base = receipt.config["base"].as_str().map(|base| format!(" --base {}", quoted(base))).unwrap_or_default();
    let adapter = receipt.config["adapter"].as_str().unwrap_or("ADAPTER");
    let out = receipt.out.display();
    let effect = receipt.results["check"]["kept"].as_f64();
    Some(
        Finding::new(Cause::MergeLost, format!("rounding to {dtype} took a part of the adapter when it was merged"))
            .seen(format!("{out}: {:.0} % of the adapter's change is left in the weights", 100.0 * kept))
            .seen_if(effect.map(|kept| format!("the merged logits keep {:.0} % of the adapter's effect", 100.0 * kept)))
            .attempt(
                "--dtype f32 keeps all of it; or use base and adapter unmerged",
                Some(format!(
                    "lora-merge{base} --adapter {} --dtype f32 --out {}",
                    quoted(adapter),
                    quoted(&format!("{out}-f32"))
                )),
            )
            .attempt("a change so small is mostly a learning rate that is too low or a run that is too short", None),
    )
}
