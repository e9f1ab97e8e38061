//! What can't be judged where no answers are generated.
use crate::Args;
use crate::bound::Bound;
use crate::metrics::{OF_CHOICES, OF_LOSSES};
use lora_cli::{Error, Result};

/// Refuses gates on answers where none are generated.
pub(crate) fn refuse_gates(args: &Args, reason: &str) -> Result<()> {
    let of_answers = |gate: &&Bound| {
        let metric = gate.metric.as_str();
        !OF_LOSSES.contains(&metric) && !OF_CHOICES.contains(&metric)
    };
    let gate = match args.gates.iter().find(of_answers) {
        _ if args.min_exact_match.is_some() => "--min-exact-match".to_owned(),
        Some(gate) => format!("--gate {gate}"),
        None => return Ok(()),
    };
    Err(Error::new(format!(
        "{gate} needs generated answers: {reason}"
    )))
}

/// Refuses settings of answers where none are generated.
pub(crate) fn refuse_settings(args: &Args) -> Result<()> {
    let sampling = &args.sampling;
    let given = [
        ("--regex", args.regex.is_some()),
        ("--references", args.references.is_some()),
        ("--temperature", sampling.temperature > 0.0),
        ("--repetition-penalty", sampling.repetition_penalty > 1.0),
        ("--stop", !sampling.stop.is_empty()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::new(format!(
            "{flag} has no effect with --generate 0: no answers are generated"
        ))),
        None => Ok(()),
    }
}
