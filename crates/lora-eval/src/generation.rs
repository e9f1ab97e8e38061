//! Answers to the rows' prompts, and whether they are the completions.
use crate::inputs::{Loaded, Model};
use crate::plan::{Plan, decode};
use crate::question::Question;
use lora_cli::{Result, Ui};
use lora_model::{Decoding, Generate, Sampling};
use lora_random::Generator;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use tokenizers::Tokenizer;

/// Prompts that are answered together at most, and the memory that their keys and values may take.
const MOST_TOGETHER: usize = 16;
const CACHE_BYTES: usize = 256 << 20;

/// One row's answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    /// Generated ids, without the one that ended the answer.
    pub(crate) ids: Vec<u32>,
    /// Their text, without outer white space.
    pub(crate) text: String,
    /// What `--regex` took of it, which may be nothing; none without a pattern.
    pub(crate) taken: Option<String>,
    /// What counts of it is a right answer.
    pub(crate) exact: bool,
    /// Further answers to the same prompt.
    pub(crate) more: Vec<Answer>,
}

impl Answer {
    /// What metrics see.
    pub(crate) fn counted(&self) -> &str {
        self.taken.as_ref().unwrap_or(&self.text)
    }
}

/// A pattern that takes nothing of any answer makes every metric one of empty texts.
pub(crate) fn warn_of_nothing_taken(model: &str, answers: &[Answer], ui: &Ui) {
    let took_nothing = |answer: &Answer| answer.taken.as_ref().is_some_and(String::is_empty);
    if !answers.is_empty() && answers.iter().all(took_nothing) {
        ui.warn(&format!(
            "--regex takes nothing of any of the {} answers of {model}: its metrics are of empty texts",
            answers.len()
        ));
    }
}

/// Answers every question of the plan, some prompts at a time; equal prompts are answered once.
pub(crate) fn answer(
    route: &mut dyn Generate,
    loaded: &Loaded,
    model: &Model<'_>,
    plan: &Plan,
    ui: &Ui,
) -> Result<Vec<Answer>> {
    let Some(bundle) = &loaded.tokenizer else {
        return Ok(Vec::new());
    };
    if plan.rows.is_empty() {
        return Ok(Vec::new());
    }
    let prompts: BTreeSet<&[u32]> = plan
        .rows
        .iter()
        .map(|question| question.prompt.as_slice())
        .collect();
    let asked = prompts.into_iter().filter(|prompt| !prompt.is_empty());
    let asked: Vec<Asked<'_>> = asked
        .flat_map(|prompt| (0..plan.samples).map(move |sample| Asked { prompt, sample }))
        .collect();
    let label = format!("answers, {}", model.name);
    let progress = ui.progress(&label, asked.len() as u64, "answers");
    let mut known: BTreeMap<&[u32], Answer> = BTreeMap::new();
    for range in batches(&asked, plan.max_new_tokens, cache_positions(loaded)) {
        ui.check_interrupt()?;
        let batch = &asked[range];
        let answers = answered(route, model, plan, &bundle.tokenizer, batch)?;
        for (asked, answer) in batch.iter().zip(answers) {
            match known.get_mut(asked.prompt) {
                Some(first) => first.more.push(answer),
                None => {
                    known.insert(asked.prompt, answer);
                }
            }
        }
        progress.inc(batch.len() as u64);
    }
    let answer = |question: &Question| match known.get(question.prompt.as_slice()) {
        Some(answer) => Answer {
            exact: question.is_answered_by(answer.counted()),
            ..answer.clone()
        },
        None => Answer::default(), // no prompt: nothing to continue
    };
    Ok(plan.rows.iter().map(answer).collect())
}

/// One answer to be generated.
#[derive(Debug, Clone, Copy)]
struct Asked<'p> {
    prompt: &'p [u32],
    sample: usize,
}

impl Asked<'_> {
    /// The chance of this answer: it hangs on the prompt and the number of the sample alone.
    fn stream(&self, seed: u64) -> Generator {
        let ids: Vec<String> = self.prompt.iter().map(u32::to_string).collect();
        Sampling::stream(seed, &format!("{} {}", self.sample, ids.join(" ")))
    }
}

/// Answers a batch together.
fn answered(
    route: &mut dyn Generate,
    model: &Model<'_>,
    plan: &Plan,
    tokenizer: &Tokenizer,
    batch: &[Asked<'_>],
) -> Result<Vec<Answer>> {
    let prompts: Vec<&[u32]> = batch.iter().map(|asked| asked.prompt).collect();
    let streams: Vec<Generator> = batch
        .iter()
        .map(|asked| asked.stream(plan.flags.seed))
        .collect();
    let how = Decoding {
        max_new_tokens: plan.max_new_tokens,
        stop: &plan.stop,
        sampling: plan.sampling,
        streams: &streams,
    };
    let mut failed = None;
    let mut watch = |_: usize, ids: &[u32]| {
        let is_over = || Ok(plan.flags.end_of(&decode(tokenizer, ids)?).is_some());
        match (!plan.flags.stop.is_empty()).then(is_over).transpose() {
            Ok(Some(true)) => ControlFlow::Break(()),
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let continued = route.decode(model.adapter, &prompts, &how, &mut watch)?;
    if let Some(error) = failed {
        return Err(error);
    }
    continued
        .into_iter()
        .map(|ids| of_ids(ids, plan, tokenizer))
        .collect()
}

/// The answer that ids say, up to a stop text.
fn of_ids(ids: Vec<u32>, plan: &Plan, tokenizer: &Tokenizer) -> Result<Answer> {
    let mut text = decode(tokenizer, &ids)?;
    if let Some(end) = plan.flags.end_of(&text) {
        text.truncate(end);
        text.truncate(text.trim_end().len());
    }
    let taken = match &plan.extraction {
        Some(extraction) => Some(extraction.of(&text)?.unwrap_or_default()),
        None => None,
    };
    Ok(Answer {
        ids,
        text,
        taken,
        ..Answer::default()
    })
}

/// Positions for which keys and values fit into the cache's budget.
fn cache_positions(loaded: &Loaded) -> usize {
    let config = loaded.base.checkpoint().config();
    let own = (0..config.num_hidden_layers).filter(|&layer| config.keys_of(layer).is_none());
    let widths = own
        .map(|layer| config.heads_of(layer))
        .map(|heads| heads.kv * heads.width);
    let position = 2 * widths.sum::<usize>() * size_of::<f32>();
    CACHE_BYTES / position.max(1)
}

/// Consecutive prompts that are answered together: the weights are read once a token for all of them.
fn batches(asked: &[Asked<'_>], max_new_tokens: usize, positions: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut first = 0;
    let mut longest = 0;
    for (index, prompt) in asked.iter().map(|asked| asked.prompt).enumerate() {
        longest = longest.max(prompt.len());
        let together = index + 1 - first;
        if together > 1
            && (together > MOST_TOGETHER || together * (longest + max_new_tokens) > positions)
        {
            batches.push(first..index);
            (first, longest) = (index, prompt.len());
        }
    }
    if first < asked.len() {
        batches.push(first..asked.len());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_prompt_once_within_the_budget() {
        let prompts: Vec<Vec<u32>> = [4, 4, 4, 90, 1].map(|length| vec![0; length]).to_vec();
        let asked = prompts.iter().map(|prompt| Asked { prompt, sample: 0 });
        let prompts: Vec<Asked<'_>> = asked.collect();
        assert_eq!(batches(&prompts, 6, 20), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(
            batches(&prompts[..3], 6, 1000),
            std::slice::from_ref(&(0..3))
        );
    }
}
