//! What the prompts do to a loss: the same completions once more, each after the prompt of another row.
//!
//! A loss below the base's may come from the form of the answers alone: an adapter that was trained on labels that have
//! nothing to do with their prompts writes the right kind of answer to any prompt. Such an adapter loses nothing where the
//! prompts are swapped; one that has learned to answer does.
use crate::inputs::{Loaded, Model};
use crate::measured::Measured;
use crate::scores::packed_losses;
use crate::statistics::{TAIL, difference};
use lora_cli::{Result, Ui};
use lora_data::{Example, IGNORE};
use lora_model::{Generate, SequenceLoss};
use lora_random::Generator;
use lora_records::Difference;

/// Rows that are measured once more at most: more make the interval narrower than anyone needs.
const MOST_ROWS: usize = 512;

/// The rows' completions after other rows' prompts; none where a row has no prompt, or no other prompt is there.
#[derive(Debug)]
pub(crate) struct Swapped {
    rows: Vec<Example>,
    /// Which row each is of.
    of: Vec<usize>,
    count: usize,
}

impl Swapped {
    /// Chooses another prompt for each row: at random, but always the same.
    pub(crate) fn of(loaded: &Loaded, prompts: &[usize]) -> Self {
        let all = &loaded.rows;
        let longest = all.iter().map(Example::len).max().unwrap_or(0);
        let order = Generator::at_step("swapped prompts", 0, 0).permutation(all.len());
        let mut swapped = Self {
            rows: Vec::new(),
            of: Vec::new(),
            count: all.len(),
        };
        for (at, &row) in order.iter().take(MOST_ROWS).enumerate() {
            let around = (1..all.len()).map(|step| order[(at + step) % all.len()]);
            let fits = |other: &usize| {
                let length =
                    all[*other].prompt_ids().len() + all[row].len() - all[row].prompt_ids().len();
                prompts[*other] != prompts[row]
                    && !all[*other].prompt_ids().is_empty()
                    && length <= longest
            };
            let other = around.take(MOST_ROWS).find(fits);
            if let Some(other) = other.filter(|_| !all[row].prompt_ids().is_empty()) {
                swapped
                    .rows
                    .push(with_prompt(&all[row], all[other].prompt_ids()));
                swapped.of.push(row);
            }
        }
        swapped
    }

    /// The losses of a model on them, by row.
    pub(crate) fn score(
        &self,
        route: &mut dyn Generate,
        model: &Model<'_>,
        batch_tokens: usize,
        ui: &Ui,
    ) -> Result<Vec<Option<SequenceLoss>>> {
        let label = format!("loss with swapped prompts, {}", model.name);
        let losses = packed_losses(route, model, &self.rows, batch_tokens, &label, ui)?;
        let mut by_row = vec![None; self.count];
        for (&row, loss) in self.of.iter().zip(losses) {
            by_row[row] = Some(loss);
        }
        Ok(by_row)
    }
}

fn with_prompt(row: &Example, prompt: &[u32]) -> Example {
    let own = row.prompt_ids().len();
    Example {
        input_ids: [prompt, &row.input_ids[own..]].concat(),
        labels: [vec![IGNORE; prompt.len()], row.labels[own..].to_vec()].concat(),
        ..row.clone()
    }
}

/// Loss with swapped prompts − loss, by the prompts; none where it was not measured.
pub(crate) fn prompt_effect(model: &Measured, groups: &[String]) -> Option<Difference> {
    let rows = effects(model)?;
    let none: Vec<SequenceLoss> = rows
        .iter()
        .map(|(_, loss)| SequenceLoss { nll: 0.0, ..*loss })
        .collect();
    Some(compared(&none, &rows, groups))
}

/// The prompts' effect on a model − that on the base.
pub(crate) fn effect_to_base(
    base: &Measured,
    model: &Measured,
    groups: &[String],
) -> Option<Difference> {
    let of_base: Vec<SequenceLoss> = effects(base)?.into_iter().map(|(_, loss)| loss).collect();
    Some(compared(&of_base, &effects(model)?, groups))
}

fn compared(
    first: &[SequenceLoss],
    rows: &[(usize, SequenceLoss)],
    groups: &[String],
) -> Difference {
    let second: Vec<SequenceLoss> = rows.iter().map(|(_, loss)| *loss).collect();
    let groups: Vec<String> = rows
        .iter()
        .map(|(row, _)| crate::statistics::cluster(groups, *row))
        .collect();
    difference(first, &second, &groups, TAIL)
}

/// Each row's loss with another prompt less its own, as the loss of a row.
fn effects(model: &Measured) -> Option<Vec<(usize, SequenceLoss)>> {
    let rows = model.swapped.iter().zip(&model.losses).enumerate();
    let found: Vec<_> = rows
        .filter_map(|(row, (swapped, own))| {
            let nll = swapped.as_ref()?.nll - own.nll;
            Some((row, SequenceLoss { nll, ..*own }))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}
