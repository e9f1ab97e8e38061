//! `--guard`: a second dataset on which an adapter must not get worse: what the base knew and the training did not ask for.
use crate::Args;
use crate::inputs::Loaded;
use crate::scores::packed_losses;
use crate::statistics::{TAIL, difference};
use lora_cli::{Error, Result, Ui};
use lora_data::{ChatTemplate, Encoder, Example, Record, Split};
use lora_model::{Generate, SequenceLoss};
use lora_receipt::{Artefact, Input};
use lora_records::{Difference, GateResult, Guard, GuardModel};
use std::path::Path;

/// `--guard default`: a neutral text and common questions with short answers, of this project's own.
const DEFAULT: &str = "default";
const OWN_ROWS: &str = include_str!("guard.jsonl");

/// The name of the guard's gate.
const GATE: &str = "guard";

/// The rows of a guard and what each model lost on them.
#[derive(Debug)]
pub(crate) struct Guarded {
    name: String,
    rows: Vec<Example>,
    max_drop: f64,
    losses: Vec<(String, Vec<SequenceLoss>)>,
}

impl Guarded {
    /// Opens what `--guard` names; none without it.
    pub(crate) fn open(args: &Args, loaded: &mut Loaded) -> Result<Option<Self>> {
        let Some(name) = &args.guard else {
            return Ok(None);
        };
        let rows = match name.as_str() {
            DEFAULT => own_rows(loaded)?,
            path => rows_of(Path::new(path), args, loaded)?,
        };
        Ok(Some(Self {
            name: name.clone(),
            rows,
            max_drop: args.max_drop,
            losses: Vec::new(),
        }))
    }

    /// Scores the next model.
    pub(crate) fn score(
        &mut self,
        route: &mut dyn Generate,
        model: &crate::inputs::Model<'_>,
        batch_tokens: usize,
        ui: &Ui,
    ) -> Result<()> {
        let label = format!("loss on the guard, {}", model.name);
        let losses = packed_losses(route, model, &self.rows, batch_tokens, &label, ui)?;
        self.losses.push((model.name.clone(), losses));
        Ok(())
    }

    /// What the report says of it.
    pub(crate) fn report(&self) -> Guard {
        let groups: Vec<String> = self.rows.iter().map(|row| row.group.clone()).collect();
        let base = self.losses.first().map_or(&[][..], |(_, losses)| losses);
        let models = self.losses.iter().enumerate().map(|(at, (name, losses))| {
            let tokens: usize = losses.iter().map(|loss| loss.tokens).sum();
            let nll: f64 = losses.iter().map(|loss| loss.nll).sum();
            GuardModel {
                name: name.clone(),
                nll: nll / tokens as f64,
                difference_to_base: (at > 0).then(|| difference(base, losses, &groups, TAIL)),
            }
        });
        Guard {
            data: self.name.clone(),
            rows: self.rows.len(),
            max_drop: self.max_drop,
            models: models.collect(),
        }
    }
}

/// Judges every adapter: the whole 95 % interval of its loss − the base's stays within the drop that is allowed.
/// `vocabulary` tokens to guess from say whether the base knows anything of the guard.
pub(crate) fn judge(guard: &Guard, vocabulary: usize) -> Vec<GateResult> {
    let guessing = (vocabulary as f64).ln();
    let unknown = guard.models.first().map(|base| base.nll);
    let unknown = unknown.filter(|nll| *nll >= guessing);
    let judged = guard.models.iter().filter_map(|model| {
        let (passed, mut reason) = within(model.difference_to_base.as_ref()?, guard.max_drop);
        if let Some(nll) = unknown {
            reason += &format!(
                "; but this says little: the base itself loses {nll:.2} nats a token there, where guessing loses \
                 {guessing:.2} (--guard DIR names rows that it knows)"
            );
        }
        Some(GateResult {
            gate: GATE.to_owned(),
            model: model.name.clone(),
            passed,
            reason,
        })
    });
    judged.collect()
}

fn within(d: &Difference, max_drop: f64) -> (bool, String) {
    let (Some(low), Some(high)) = (d.low, d.high) else {
        return (false, "one prompt says nothing about the noise".to_owned());
    };
    let passed = high <= max_drop;
    let verdict = match (passed, low > max_drop) {
        (true, _) => "it has not forgotten",
        (false, true) => "it has forgotten",
        (false, false) => "can't tell: more rows make the interval narrower",
    };
    let reason = format!(
        "loss on the guard − base {:+.4}, 95 % interval {low:+.4} to {high:+.4} over {} prompts, at most {max_drop:+} allowed: \
         {verdict}",
        d.nll, d.prompts
    );
    (passed, reason)
}

fn own_rows(loaded: &Loaded) -> Result<Vec<Example>> {
    let Some(bundle) = &loaded.tokenizer else {
        return Err(Error::new("--guard default needs the base's tokenizer")
            .hint("name a dataset of lora-prep in its place: --guard DIR"));
    };
    let source = bundle.chat_template.as_deref();
    let template = source.map(|source| {
        ChatTemplate::new(
            source,
            bundle.bos_token.as_deref(),
            bundle.eos_token.as_deref(),
        )
    });
    let template = template.transpose().map_err(|fault| {
        Error::new(format!("the base's chat template can't be used: {fault}"))
            .hint("name a dataset of lora-prep in its place: --guard DIR")
    })?;
    let encoder = Encoder::new(bundle, template, None)?;
    let rows = OWN_ROWS.lines().filter_map(|line| {
        let record = Record::from_json(&serde_json::from_str(line).ok()?).ok()?;
        encoder.encode(&record).ok()
    });
    let rows: Vec<Example> = rows.collect();
    match rows.is_empty() {
        true => Err(
            Error::new("the base's tokenizer and template can't write the default guard")
                .hint("name a dataset of lora-prep in its place: --guard DIR"),
        ),
        false => Ok(rows),
    }
}

fn rows_of(path: &Path, args: &Args, loaded: &mut Loaded) -> Result<Vec<Example>> {
    let path = &lora_cli::artefact_input(path, Artefact::Dataset)?;
    let mut split = Split::read(path, &args.split)?;
    if let Some(bundle) = &loaded.tokenizer {
        split.check_tokenizer_of(bundle, path)?;
    }
    split.check_vocabulary(loaded.base.checkpoint().config().vocab_size, path)?;
    split.examples.truncate(args.limit.unwrap_or(usize::MAX));
    loaded.inputs.push(Input::read("guard", path)?);
    Ok(split.examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_interval_has_to_stay_within_the_drop() {
        let difference = |nll: f64, half: Option<f64>| Difference {
            nll,
            standard_error: None,
            low: half.map(|h| nll - h),
            high: half.map(|h| nll + h),
            prompts: 40,
        };
        for (nll, half, wanted, words) in [
            (0.01, Some(0.02), true, "has not forgotten"),
            (-0.5, Some(0.1), true, "has not forgotten"),
            (0.09, Some(0.05), false, "can't tell"),
            (0.5, Some(0.1), false, "it has forgotten"),
            (0.0, None, false, "one prompt"),
        ] {
            let (passed, reason) = within(&difference(nll, half), 0.1);
            assert!(passed == wanted && reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn a_guard_that_the_base_only_guesses_at_is_said() {
        let model = |name: &str, nll: f64, change: Option<f64>| GuardModel {
            name: name.to_owned(),
            nll,
            difference_to_base: change.map(|nll| Difference {
                nll,
                standard_error: None,
                low: Some(nll - 0.1),
                high: Some(nll + 0.1),
                prompts: 40,
            }),
        };
        for (of_base, is_said) in [(13.8, true), (6.92, true), (3.0, false)] {
            let guard = Guard {
                data: DEFAULT.to_owned(),
                rows: 40,
                max_drop: 0.1,
                models: vec![
                    model("base", of_base, None),
                    model("a", of_base - 2.0, Some(-2.0)),
                ],
            };
            let judged = judge(&guard, 1000); // ln 1000 = 6.908
            assert!(judged.len() == 1 && judged[0].passed);
            assert_eq!(
                judged[0].reason.contains("says little"),
                is_said,
                "{judged:?}"
            );
        }
    }

    #[test]
    fn the_own_rows_are_records() {
        let records = OWN_ROWS
            .lines()
            .map(|line| Record::from_json(&serde_json::from_str(line).unwrap()));
        assert_eq!(records.filter(Result::is_ok).count(), 200);
        assert_eq!(OWN_ROWS.lines().count(), 200);
    }
}
