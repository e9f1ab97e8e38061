//! Every model's rows under every measure, and its answers against what other prompts expect.
use crate::Args;
use crate::gates;
use crate::generation::Answer;
use crate::inputs::Loaded;
use crate::measure::{Measure, loss_sums};
use crate::measured::{Grades, Measured};
use crate::metrics::{self, Command, Metric, Sums, is_readable};
use crate::plan::Plan;
use crate::question::Question;
use crate::samples;
use crate::statistics::cluster;
use lora_cli::{Error, Result, Ui};
use lora_random::Generator;
use std::collections::BTreeMap;

/// Other prompts' rows that an answer is held against.
const PARTNERS: usize = 4;

/// What is going to be measured.
pub(crate) struct Grading {
    metrics: Vec<Box<dyn Metric>>,
    commands: Vec<Command>,
    /// Answers to a prompt.
    samples: usize,
    /// Rows of other prompts for each answered row; empty where nothing can be told from them.
    partners: Vec<Vec<usize>>,
}

/// Refuses names that no metric has, and commands of one name.
pub(crate) fn check_arguments(args: &Args) -> Result<()> {
    let known = metrics::names();
    for name in args.metrics.iter().flatten() {
        if !known.contains(name) {
            return Err(
                Error::new(format!("--metrics: there is no metric `{name}`"))
                    .hint(format!("metrics are {}", known.join(", "))),
            );
        }
    }
    let of_choices = metrics::OF_CHOICES.map(str::to_owned);
    let mut taken: Vec<String> = known.into_iter().chain(of_choices).collect();
    for command in commands(args)? {
        if taken.contains(&command.name) {
            return Err(
                Error::new(format!("two metrics are called `{}`", command.name))
                    .hint("name the command: --metric-command 'judge=CMD'"),
            );
        }
        taken.push(command.name);
    }
    if let Some(pattern) = &args.regex {
        metrics::Extraction::new(pattern)?;
    }
    Ok(())
}

fn commands(args: &Args) -> Result<Vec<Command>> {
    args.metric_command
        .iter()
        .map(|text| Command::parse(text))
        .collect()
}

/// Chooses the metrics: those of `--metrics`, or what fits the data.
pub(crate) fn grading(args: &Args, loaded: &Loaded, plan: &Plan, ui: &Ui) -> Result<Grading> {
    if plan.rows.is_empty() {
        return without_answers(args, plan);
    }
    let expected: Vec<&str> = plan.rows.iter().map(|row| row.expected.as_str()).collect();
    let names = match &args.metrics {
        Some(names) => names.clone(),
        None => metrics::fitting(&expected),
    };
    let of_gates = gates::metrics(args).map(str::to_owned);
    let names: Vec<String> = names.into_iter().chain(of_gates).collect();
    if names.iter().any(|name| name.starts_with("rouge")) {
        warn_of_other_scripts(&expected, ui);
    }
    Ok(Grading {
        metrics: metrics::chosen(&names),
        commands: commands(args)?,
        samples: args.samples,
        partners: partners(&plan.rows, loaded),
    })
}

/// A metric of answers that was asked for by name needs answers.
fn without_answers(args: &Args, plan: &Plan) -> Result<Grading> {
    let asked = args.metrics.iter().flatten();
    let of_answers = asked.filter(|name| !metrics::OF_LOSSES.contains(&name.as_str()));
    let named = of_answers
        .cloned()
        .chain(commands(args)?.into_iter().map(|command| command.name));
    if let Some(name) = named.into_iter().next() {
        let reason = plan.reason();
        return Err(Error::new(format!(
            "metric `{name}` needs generated answers: {reason}"
        )));
    }
    Ok(Grading {
        metrics: Vec::new(),
        commands: Vec::new(),
        samples: 1,
        partners: Vec::new(),
    })
}

fn warn_of_other_scripts(expected: &[&str], ui: &Ui) {
    let is_unreadable = |text: &&&str| !text.is_empty() && !is_readable(text);
    let unreadable = expected.iter().filter(is_unreadable).count();
    if unreadable > 0 {
        ui.warn(&format!(
            "ROUGE knows the letters a to z and digits alone: {unreadable} of {} rows expect nothing that it can read, and \
             count as 0 (chrf reads every script)",
            expected.len()
        ));
    }
}

/// For each row some rows of other prompts, at random but always the same.
fn partners(rows: &[Question], loaded: &Loaded) -> Vec<Vec<usize>> {
    let prompts = prompts(loaded);
    let first = rows.first().map(|row| &row.references);
    let are_equal = rows.iter().all(|row| Some(&row.references) == first);
    if are_equal {
        return Vec::new();
    }
    let order = Generator::at_step("other prompts' answers", 0, 0).permutation(rows.len());
    let mut place = vec![0; rows.len()];
    for (at, &row) in order.iter().enumerate() {
        place[row] = at;
    }
    let of = |row: usize| {
        let around = (1..rows.len()).map(|step| order[(place[row] + step) % rows.len()]);
        around
            .filter(|&other| prompts[other] != prompts[row])
            .take(PARTNERS)
            .collect()
    };
    (0..rows.len()).map(of).collect()
}

/// The number of each row's prompt.
pub(crate) fn prompts(loaded: &Loaded) -> Vec<usize> {
    let groups: Vec<String> = loaded.rows.iter().map(|row| row.group.clone()).collect();
    let mut numbers = BTreeMap::new();
    let mut prompts = Vec::with_capacity(groups.len());
    for row in 0..groups.len() {
        let next = numbers.len();
        prompts.push(*numbers.entry(cluster(&groups, row)).or_insert(next));
    }
    prompts
}

impl Grading {
    /// All measures, in the order of the grades.
    pub(crate) fn measures(self) -> Vec<Measure> {
        let of_samples: Vec<Measure> = self
            .of_samples()
            .map(|of| of.measure(self.samples))
            .collect();
        let mut measures = Vec::from(Measure::of_losses());
        measures.extend(self.metrics.into_iter().map(Measure::of_answers));
        measures.extend(of_samples);
        let of_commands = self.commands.iter();
        measures.extend(of_commands.map(|c| Measure::of_scores(&c.name, metrics::Scale::Free)));
        measures
    }

    fn of_samples(&self) -> impl Iterator<Item = samples::Of> + use<> {
        let has_answers = !self.metrics.is_empty();
        let all = samples::Of::all(self.samples).into_iter();
        all.filter(move |_| has_answers)
    }

    /// The metric by which one of several answers is right: the first chosen that says yes or no.
    fn deciding(&self) -> Option<&dyn Metric> {
        let says_yes_or_no = |metric: &&dyn Metric| {
            metric.scale() == metrics::Scale::Share && metric.needs_reference()
        };
        let all = self.metrics.iter().map(|metric| &**metric);
        let mut deciding = all.filter(says_yes_or_no);
        let exact = deciding.next();
        deciding.next().or(exact)
    }

    /// Grades one model's rows.
    pub(crate) fn grade(&self, model: &mut Measured, loaded: &Loaded, plan: &Plan) -> Result<()> {
        let mut of_losses = [const { Vec::new() }; 3];
        for loss in &model.losses {
            let has_tokens = loss.tokens > 0;
            for (rows, sums) in of_losses.iter_mut().zip(loss_sums(loss)) {
                rows.push(has_tokens.then_some(sums));
            }
        }
        model.grades = of_losses.into_iter().map(Grades::without_chance).collect();
        if model.answers.is_empty() {
            return Ok(());
        }
        let answers = &model.answers;
        for metric in &self.metrics {
            let metric = &**metric;
            let sums = |answer: &Answer, wanted: &[String]| metric.sums(answer.counted(), wanted);
            let grades = self.graded(answers, &plan.rows, metric.needs_reference(), sums);
            model.grades.push(grades);
        }
        for of in self.of_samples() {
            let Some(metric) = self.deciding() else {
                continue;
            };
            let sums = |answer: &Answer, wanted: &[String]| of.sums(metric, answer, wanted);
            let grades = self.graded(answers, &plan.rows, true, sums);
            model.grades.push(grades);
        }
        for command in &self.commands {
            let scores = command.scores(&asked(model, loaded, plan))?;
            let rows = scores
                .into_iter()
                .map(|score| Some(vec![score, 1.0]))
                .collect();
            model.grades.push(Grades::without_chance(rows));
        }
        Ok(())
    }

    /// Every answer against its references, and against those of its partners.
    fn graded(
        &self,
        answers: &[Answer],
        questions: &[Question],
        needs_reference: bool,
        sums: impl Fn(&Answer, &[String]) -> Option<Sums>,
    ) -> Grades {
        let own = answers.iter().zip(questions);
        let rows = own
            .map(|(answer, question)| sums(answer, &question.references))
            .collect();
        let by_chance = |(row, answer): (usize, &Answer)| {
            let others = self.partners.get(row).filter(|_| needs_reference)?;
            let wanted = others.iter().map(|&other| &questions[other].references);
            mean(wanted.filter_map(|references| sums(answer, references)))
        };
        let chance = answers.iter().enumerate().map(by_chance).collect();
        Grades { rows, chance }
    }
}

/// The mean of sums, so that a row weighs as one row.
fn mean(all: impl Iterator<Item = Sums>) -> Option<Sums> {
    let all: Vec<Sums> = all.collect();
    let mut total = vec![0.0; all.first()?.len()];
    for sums in &all {
        for (total, own) in total.iter_mut().zip(sums) {
            *total += own / all.len() as f64;
        }
    }
    Some(total)
}

fn asked<'a>(model: &'a Measured, loaded: &'a Loaded, plan: &'a Plan) -> Vec<metrics::Asked<'a>> {
    let rows = loaded.rows.iter().zip(&plan.rows).zip(&model.answers);
    rows.map(|((row, question), answer)| metrics::Asked {
        id: &row.id,
        model: &model.name,
        prompt: &row.prompt,
        answer: answer.counted(),
        references: &question.references,
    })
    .collect()
}
