//! The training loop, the same for every method: gather a window of batches, sum their gradients, check them, clip, step;
//! now and then measure the valid split and write a checkpoint.
use crate::args::Args;
use crate::batches::{Batching, Length, Steps};
use crate::checkpoint::{self, Best, Snapshot, State, save_model, state_file};
use crate::evaluate::{add, evaluate, pack};
use crate::gate::{Gate, check_finite, check_params};
use crate::metrics::{Metric, Metrics};
use crate::schedule::Schedule;
use crate::setup::{Data, Inputs};
use crate::trainable::{Slot, Trainable};
use lora_cli::{Error, Progress, Result, Ui};
use lora_kernels::optim::{AdamW, Moments, Step, clip_factor, global_norm};
use lora_kernels::profile::{Part, Profile};
use lora_model::SequenceLoss;
use lora_receipt::Staged;
use std::path::PathBuf;
use std::time::Instant;

/// What a finished run leaves behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its figures.
    pub(crate) state: State,
    /// Parameters of the best evaluation; None without a valid split.
    pub(crate) best: Option<Vec<f32>>,
    /// Steps that were planned.
    pub(crate) total_steps: u64,
}

/// Trains to the end, from the start or from the checkpoint that `staged` holds.
pub(crate) fn train(
    args: &Args,
    inputs: &Inputs,
    data: &Data,
    model: &mut dyn Trainable,
    staged: &mut Staged,
    ui: &Ui,
) -> Result<Outcome> {
    ui.say(&model.summary());
    let mut run = Run::start(args, inputs, data, model, staged, ui)?;
    let result = run.train_on();
    if let Err(error) = &result {
        if error.is_interrupted() && run.state.step > 0 {
            run.checkpoint()?;
            ui.say(&format!(
                "stopped after step {}: the same command with --resume continues it",
                run.state.step
            ));
        } else if state_file(run.staged.path()).exists() {
            let kept = run.staged.path().display();
            ui.say(&format!("{kept} keeps the checkpoints so far: --resume continues from them, --force starts over"));
        }
    }
    result?;
    let State {
        tokens,
        computed_tokens,
        ..
    } = run.state;
    if computed_tokens < tokens {
        let saved = 100.0 * (1.0 - computed_tokens as f64 / tokens as f64);
        ui.say(&format!(
            "examples of a batch that begin alike shared that beginning: {saved:.0} % fewer tokens to compute"
        ));
    }
    Ok(Outcome {
        total_steps: run.schedule.total_steps,
        best: run.best,
        state: run.state,
    })
}

/// Tokens of a window.
struct Tokens {
    /// In its examples.
    all: usize,
    /// That were computed: fewer where examples begin alike.
    computed: usize,
}

/// A run between two steps.
struct Run<'r> {
    args: &'r Args,
    data: &'r Data,
    model: &'r mut dyn Trainable,
    staged: &'r mut Staged,
    ui: &'r Ui,
    fingerprint: serde_json::Value,
    schedule: Schedule,
    eval_every: u64,
    steps: Steps,
    state: State,
    slots: Vec<Slot>,
    gradients: Vec<f32>,
    /// AdamW's first and second moments.
    m: Vec<f32>,
    v: Vec<f32>,
    best: Option<Vec<f32>>,
    gate: Gate,
    metrics: Metrics,
}

impl<'r> Run<'r> {
    fn start(
        args: &'r Args,
        inputs: &Inputs,
        data: &'r Data,
        model: &'r mut dyn Trainable,
        staged: &'r mut Staged,
        ui: &'r Ui,
    ) -> Result<Self> {
        let (mut steps, schedule, eval_every) = plan(args, data);
        let fingerprint = inputs.fingerprint(args)?;
        let n = model.params().len();
        let found = resume(args, &fingerprint, n, staged, ui)?;
        let snapshot = match found {
            None => Snapshot {
                state: State::default(),
                params: Vec::new(),
                m: vec![0.0; n],
                v: vec![0.0; n],
                best: None,
            },
            Some(snapshot) => {
                model.params_mut().copy_from_slice(&snapshot.params);
                steps.skip(snapshot.state.step);
                snapshot
            }
        };
        let Snapshot {
            state, m, v, best, ..
        } = snapshot;
        let metrics = Metrics::open(staged.path(), state.step)?;
        let slots = model.slots().to_vec();
        let (gate, gradients) = (Gate::new(&slots), vec![0.0; n]);
        let run = Self {
            args,
            data,
            model,
            staged,
            ui,
            fingerprint,
            schedule,
            eval_every,
            steps,
            state,
            slots,
            gradients,
            m,
            v,
            best,
            gate,
            metrics,
        };
        run.introduce();
        Ok(run)
    }

    /// Says what is about to happen.
    fn introduce(&self) {
        let (total, warmup) = (self.schedule.total_steps, self.schedule.warmup_steps);
        let rows = |n: usize| {
            if n == 1 {
                "1 example".to_owned()
            } else {
                format!("{n} examples")
            }
        };
        let valid = self
            .data
            .valid
            .as_ref()
            .map_or("no valid split".to_owned(), |v| {
                format!("{} held out", rows(v.len()))
            });
        self.ui.say(&format!(
            "{total} steps on {}, {valid}",
            rows(self.data.train.len())
        ));
        if warmup >= total && warmup > 0 {
            self.ui.warn(&format!(
                "the warm-up takes {warmup} steps of {total}: the learning rate never reaches its peak"
            ));
        }
    }

    fn train_on(&mut self) -> Result<()> {
        let progress = self.ui.progress("train", self.schedule.total_steps, "step");
        progress.already(self.state.step);
        loop {
            if self.evaluation_is_due() {
                self.evaluate()?;
                self.state.evaluated = self.state.step;
                self.checkpoint()?;
            }
            if self.state.step >= self.schedule.total_steps || self.state.stopped_early {
                return Ok(());
            }
            self.step(&progress)?;
        }
    }

    /// After every so many steps and after the last, unless a run that was interrupted then has done it.
    fn evaluation_is_due(&self) -> bool {
        let step = self.state.step;
        step > self.state.evaluated
            && (step == self.schedule.total_steps || step.is_multiple_of(self.eval_every))
    }

    /// One step of the optimiser.
    fn step(&mut self, progress: &Progress) -> Result<()> {
        let began = Instant::now();
        let step = self.state.step + 1;
        let (window, epoch) = self.steps.next_window();
        let (
            sum,
            Tokens {
                all: tokens,
                computed,
            },
        ) = self.accumulate(&window)?;
        let loss = sum.nll / sum.tokens as f64;
        let optimising = Instant::now();
        let norm = global_norm(&self.gradients);
        check_finite(&self.slots, &self.gradients, norm, loss, step)?;
        self.gate
            .judge(&self.slots, self.model.params(), &self.gradients, step)?;

        let lr = self.schedule.rate(step - 1);
        self.apply(step, lr, clip_factor(norm, self.args.clip));
        if let Some(profile) = self.model.profile() {
            profile.add(Part::Optimiser, optimising.elapsed());
        }

        let seconds = began.elapsed().as_secs_f64();
        self.state.step = step;
        self.state.epoch = epoch;
        self.state.tokens += tokens as u64;
        self.state.computed_tokens += computed as u64;
        self.state.supervised_tokens += sum.tokens as u64;
        self.state.step_seconds += seconds;
        self.state.last_loss = loss;
        if step == 1 {
            self.state.first_loss = loss;
        }
        let tokens_per_s = tokens as f64 / seconds.max(1e-9);
        progress.message(format!("loss {loss:.4}  {tokens_per_s:.0} tokens/s"));
        progress.inc(1);
        let supervised_tokens = sum.tokens;
        self.record(Metric::Step {
            step,
            epoch,
            loss,
            grad_norm: norm,
            lr,
            tokens,
            supervised_tokens,
            tokens_per_s,
        })
    }

    /// Gradients of the mean loss over all supervised tokens of a window: not a mean of its batches' means.
    fn accumulate(&mut self, window: &[Vec<usize>]) -> Result<(SequenceLoss, Tokens)> {
        let batches: Vec<_> = window
            .iter()
            .map(|rows| pack(&self.data.train, rows))
            .collect();
        let supervised: usize = batches.iter().map(lora_model::Packed::supervised).sum();
        let scale = 1.0 / supervised as f32;
        self.gradients.fill(0.0);
        let mut sum = SequenceLoss::default();
        for (index, packed) in batches.iter().enumerate() {
            self.ui.check_interrupt()?;
            let micro_step = self.state.step * self.args.accumulation as u64 + index as u64;
            add(
                &mut sum,
                &self
                    .model
                    .gradients(packed, micro_step, scale, &mut self.gradients)?,
            );
        }
        let all = batches.iter().map(lora_model::Packed::tokens).sum();
        let computed = batches
            .iter()
            .map(|packed| self.model.computed_tokens(packed))
            .sum();
        Ok((sum, Tokens { all, computed }))
    }

    /// AdamW, tensor by tensor: not every tensor decays.
    fn apply(&mut self, step: u64, lr: f64, clip: f32) {
        let adamw = |decays| AdamW {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: if decays {
                self.args.weight_decay as f32
            } else {
                0.0
            },
        };
        let params = self.model.params_mut();
        for slot in &self.slots {
            let at = slot.range.clone();
            let moments = Moments {
                first: &mut self.m[at.clone()],
                second: &mut self.v[at.clone()],
            };
            let step = Step {
                number: step,
                lr: lr * slot.rate,
                clip,
            };
            let gradients = &self.gradients[at.clone()];
            adamw(slot.decays).step(&mut params[at], gradients, moments, step);
        }
    }

    /// Measures the valid split, remembers the best parameters, and counts evaluations that were not better.
    fn evaluate(&mut self) -> Result<()> {
        check_params(&self.slots, self.model.params(), self.state.step)?;
        let Some(valid) = &self.data.valid else {
            return Ok(());
        };
        let counts = self.model.profile().map(Profile::counts);
        let sum = evaluate(self.model, valid, self.ui)?;
        if let Some((profile, counts)) = self.model.profile().zip(counts) {
            profile.restore(&counts); // a profile is of the steps
        }
        let (step, epoch) = (self.state.step, self.state.epoch);
        let loss = sum.nll / sum.tokens as f64;
        if !loss.is_finite() {
            return Err(
                Error::new(format!("the valid loss is {loss} after step {step}")).hint(
                    "a lower --lr or a longer --warmup usually helps; checkpoints so far are kept",
                ),
            );
        }
        let better = self.state.best.is_none_or(|best| loss < best.loss);
        self.state.valid_loss = Some(loss);
        if better {
            self.state.best = Some(Best { step, loss });
            self.state.worse = 0;
            self.best = Some(self.model.params().to_vec());
        } else {
            self.state.worse += 1;
            self.state.stopped_early = self
                .args
                .patience
                .is_some_and(|patience| self.state.worse >= patience);
        }
        self.ui.say(&format!(
            "step {step}: valid loss {loss:.4}{}",
            if better { ", the best so far" } else { "" }
        ));
        if self.state.stopped_early {
            self.ui.say(&format!(
                "no better loss in {} evaluations: stopping early",
                self.state.worse
            ));
        }
        let token_accuracy = sum.correct as f64 / sum.tokens as f64;
        let supervised_tokens = sum.tokens;
        self.record(Metric::Eval {
            step,
            epoch,
            valid_loss: loss,
            token_accuracy,
            supervised_tokens,
            best: better,
        })
    }

    /// Writes the last and the best model and, last of all, the state that a resumed run starts from.
    fn checkpoint(&mut self) -> Result<()> {
        let out: PathBuf = self.staged.path().to_path_buf();
        save_model(&out, "last", self.model, self.model.params())?;
        if let Some(best) = &self.best
            && self.state.best.is_some_and(|b| {
                b.step == self.state.step || !out.join("checkpoints/best").exists()
            })
        {
            save_model(&out, "best", self.model, best)?;
        }
        let mut vectors = vec![
            ("params", self.model.params()),
            ("m", &self.m[..]),
            ("v", &self.v[..]),
        ];
        vectors.extend(self.best.as_deref().map(|best| ("best", best)));
        checkpoint::write(&state_file(&out), &self.fingerprint, &self.state, &vectors)?;
        self.staged.keep_partial();
        Ok(())
    }

    fn record(&mut self, metric: Metric) -> Result<()> {
        self.ui.event(&metric);
        self.metrics.write(&metric)
    }
}

/// The steps of the run, their learning rates, and after how many steps to evaluate.
fn plan(args: &Args, data: &Data) -> (Steps, Schedule, u64) {
    let steps = steps_of(args, data);
    let schedule = Schedule::new(
        args.schedule,
        args.lr,
        args.warmup,
        steps.total(length(args)),
    );
    let eval_every = match args.eval_every {
        Some(n) => n as u64,
        None => (steps.of_epoch(0).len() as u64).min(schedule.total_steps.div_ceil(4)),
    };
    (steps, schedule, eval_every)
}

/// The steps that the flags ask for.
pub(crate) fn steps_of(args: &Args, data: &Data) -> Steps {
    let lengths = data.train.iter().map(|e| e.input_ids.len()).collect();
    let batching = Batching {
        examples: args.batch,
        tokens: args.batch_tokens,
        accumulation: args.accumulation,
        by_length: args.group_by_length,
    };
    Steps::new(lengths, batching, args.seed)
}

fn length(args: &Args) -> Length {
    match args.steps {
        Some(n) => Length::Steps(n as u64),
        None => Length::Epochs(args.epochs.unwrap_or(3.0)),
    }
}

/// Epochs that a run begins.
pub(crate) fn epochs(args: &Args, steps: &Steps) -> u64 {
    match length(args) {
        Length::Steps(n) => n.div_ceil(steps.of_epoch(0).len().max(1) as u64),
        Length::Epochs(epochs) => epochs.ceil() as u64,
    }
}

/// The checkpoint to continue from, if one is asked for and there.
fn resume(
    args: &Args,
    fingerprint: &serde_json::Value,
    parameters: usize,
    staged: &mut Staged,
    ui: &Ui,
) -> Result<Option<Snapshot>> {
    let file = state_file(staged.path());
    if !args.resume || !file.exists() {
        return Ok(None);
    }
    staged.keep_partial();
    let snapshot = checkpoint::read(&file, fingerprint, parameters)?;
    ui.say(&format!("continuing after step {}", snapshot.state.step));
    Ok(Some(snapshot))
}
