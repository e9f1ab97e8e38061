//! The training loop, the same whatever trains: gather a window of micro-batches, sum their gradients, check them, clip,
//! step; now and then measure the held-out rows and write a checkpoint.
use crate::checkpoint::{self, Checkpoints, save_model};
use crate::config::{RunPlan, TrainConfig};
use crate::error::{Error, Result};
use crate::evaluate::evaluate;
use crate::event::{Evaluated, Event, Observer, Started, StepDone, Warning};
use crate::gate::{Gate, check_finite, check_params};
use crate::keeper::Keeper;
use crate::outcome::{Data, Outcome, Profiled};
use crate::state::{Best, State};
use crate::trainable::{LossSum, MicroBatch, Slot, Trainable, Update};
use lora_kernels::optim::clip_factor;
use lora_kernels::profile::{Counts, Part, Profile};
use std::time::Instant;

/// A run between two steps.
pub struct Trainer<'r, M: Trainable + ?Sized> {
    config: TrainConfig,
    data: Data<'r, M::Row>,
    model: &'r mut M,
    checkpoints: Option<Checkpoints>,
    plan: RunPlan,
    state: State,
    slots: Vec<Slot>,
    keeper: Keeper,
    best: Option<Vec<f32>>,
    gate: Gate,
    /// False as long as what lies on the disk is of an earlier process.
    is_saved: bool,
    /// A step was done by this process.
    is_warm: bool,
    profiled: Profiled,
}

/// What a run goes on from.
#[derive(Debug, Default)]
pub struct Resumed {
    /// What the observer gave to be kept with the checkpoint; none if the run begins.
    pub kept: Option<Vec<u8>>,
    /// What is wrong with checkpoints that were passed over.
    pub damaged: Vec<Error>,
}

impl<'r, M: Trainable + ?Sized> Trainer<'r, M> {
    /// A run from its start, without checkpoints.
    ///
    /// # Errors
    /// If a setting is not sound, or there are no rows to train on.
    pub fn new(config: TrainConfig, data: Data<'r, M::Row>, model: &'r mut M) -> Result<Self> {
        let lengths = data.train.iter().map(|row| model.size(row).tokens);
        let plan = config.plan(lengths.collect())?;
        let slots = model.slots().to_vec();
        let keeper = Keeper::new(model, config.weight_decay)?;
        Ok(Self {
            data,
            model,
            checkpoints: None,
            plan,
            state: State::default(),
            gate: Gate::new(&slots),
            slots,
            keeper,
            config,
            best: None,
            is_saved: false,
            is_warm: false,
            profiled: Profiled::default(),
        })
    }

    /// Writes a checkpoint after every evaluation, and when the run is asked to stop.
    #[must_use]
    pub fn with_checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Goes back to where the last checkpoint was written, or the one before if that is damaged.
    ///
    /// # Errors
    /// If it can't be read, or is of a run with other settings or inputs.
    pub fn resume(&mut self) -> Result<Resumed> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(Resumed::default());
        };
        let n = self.model.params().len();
        let found = checkpoint::find(&checkpoints.state_file(), &checkpoints.fingerprint, n)?;
        let damaged = found.damaged;
        let Some(snapshot) = found.snapshot else {
            return Ok(Resumed {
                damaged,
                ..Resumed::default()
            });
        };
        self.model.params_mut().copy_from_slice(&snapshot.params);
        self.plan.steps.skip(snapshot.state.step);
        self.state = snapshot.state;
        self.keeper.resume(self.model, snapshot.m, snapshot.v)?;
        self.best = snapshot.best;
        Ok(Resumed {
            kept: Some(snapshot.kept),
            damaged,
        })
    }

    /// Steps done so far.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the observer asked to stop; otherwise what went wrong, with checkpoints so far kept.
    pub fn run(mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        self.introduce(observer);
        if let Err(error) = self.train(observer) {
            let Error::Interrupted { .. } = error else {
                return Err(error);
            };
            if self.state.step > 0 {
                self.checkpoint(observer)?;
            }
            return Err(Error::Interrupted {
                step: self.state.step,
            });
        }
        if !self.is_saved {
            self.checkpoint(observer)?; // of a run that was interrupted after its last step
        }
        Ok(Outcome {
            total_steps: self.plan.schedule.total_steps,
            best: self.best,
            state: self.state,
            profiled: self.profiled,
        })
    }

    fn introduce(&self, observer: &mut dyn Observer) {
        let schedule = &self.plan.schedule;
        observer.event(&Event::Started(Started {
            total_steps: schedule.total_steps,
            done_steps: self.state.step,
            train_rows: self.data.train.len(),
            valid_rows: self.data.valid.map(<[_]>::len),
        }));
        if schedule.total_steps == 1 && self.config.warmup > 0.0 {
            observer.event(&Event::Warning(Warning::NoWarmup));
        }
        if schedule.warmup_steps >= schedule.total_steps && schedule.warmup_steps > 0 {
            observer.event(&Event::Warning(Warning::EndsInWarmup {
                warmup_steps: schedule.warmup_steps,
                total_steps: schedule.total_steps,
            }));
        }
    }

    fn train(&mut self, observer: &mut dyn Observer) -> Result<()> {
        loop {
            if self.evaluation_is_due() {
                self.evaluate(observer)?;
                self.state.evaluated = self.state.step;
                self.checkpoint(observer)?;
            }
            if self.state.step >= self.plan.schedule.total_steps || self.state.stopped_early {
                return Ok(());
            }
            self.take_step(observer)?;
        }
    }

    /// After every so many steps and after the last, unless a run that was interrupted then has done it.
    fn evaluation_is_due(&self) -> bool {
        let step = self.state.step;
        step > self.state.evaluated
            && (step == self.plan.schedule.total_steps || step.is_multiple_of(self.plan.eval_every))
    }

    /// One step of the optimiser.
    fn take_step(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let began = Instant::now();
        let step = self.state.step + 1;
        let (window, epoch) = self.plan.steps.next_window();
        let (sum, row) = self.accumulate(&window, observer)?;
        let loss = sum.mean();
        let optimising = Instant::now();
        let norm = self.keeper.norm(self.model)?;
        if !self.gate.is_through() || !norm.is_finite() || !loss.is_finite() {
            let gradients = self.keeper.gradients(self.model)?;
            check_finite(&self.slots, gradients, norm, loss, step).map_err(|e| name_row(e, row))?;
            let params = self.model.params();
            self.gate.judge(&self.slots, params, gradients, step)?;
        }
        let lr = self.plan.schedule.rate(step - 1);
        let clip = clip_factor(norm, self.config.clip);
        let update = Update { step, lr, clip };
        self.keeper.step(self.model, &self.slots, update)?;
        if let Some(profile) = self.model.profile() {
            profile.add(Part::Optimiser, optimising.elapsed());
        }
        let seconds = began.elapsed().as_secs_f64();
        self.count(step, epoch, &sum, seconds);
        self.count_profiled(seconds);
        observer.event(&Event::StepDone(StepDone {
            step,
            epoch,
            loss,
            aux_loss: sum.mean_balance(),
            grad_norm: norm,
            lr,
            tokens: sum.tokens,
            supervised_tokens: sum.supervised,
            tokens_per_s: sum.tokens as f64 / seconds.max(1e-9),
        }));
        Ok(())
    }

    fn count(&mut self, step: u64, epoch: f64, sum: &LossSum, seconds: f64) {
        let state = &mut self.state;
        state.step = step;
        state.epoch = epoch;
        state.tokens += sum.tokens as u64;
        state.computed_tokens += sum.computed as u64;
        state.supervised_tokens += sum.supervised as u64;
        state.step_seconds += seconds;
        state.last_loss = sum.mean();
        if step == 1 {
            state.first_loss = sum.mean();
        }
    }

    fn count_profiled(&mut self, seconds: f64) {
        let more = self.state.step < self.plan.schedule.total_steps;
        if !std::mem::replace(&mut self.is_warm, true) && more {
            if let Some(profile) = self.model.profile() {
                profile.restore(&Counts::default());
            }
            return;
        }
        self.profiled.steps += 1;
        self.profiled.seconds += seconds;
    }

    /// Gradients of the mean loss over all supervised tokens of a window: not a mean of its batches' means. Each micro-batch
    /// is a leaf of one fixed tree of sums. Also tells the first row whose loss is not finite.
    fn accumulate(
        &mut self,
        window: &[Vec<usize>],
        observer: &mut dyn Observer,
    ) -> Result<(LossSum, Option<usize>)> {
        let supervised: usize = window
            .iter()
            .flatten()
            .map(|&row| self.model.size(&self.data.train[row]).supervised)
            .sum();
        let scale = 1.0 / supervised as f32;
        self.keeper.clear(self.model);
        let mut sum = LossSum::default();
        let mut not_finite = None;
        for (index, rows) in window.iter().enumerate() {
            if observer.stop() {
                let step = self.state.step;
                return Err(Error::Interrupted { step });
            }
            let number = self.state.step * self.config.batching.accumulation as u64 + index as u64;
            let batch = MicroBatch {
                number,
                scale,
                balance: self.config.balance(window.len()),
            };
            let those: Vec<&M::Row> = rows.iter().map(|&row| &self.data.train[row]).collect();
            let losses = self.keeper.accumulate(self.model, &those, batch)?;
            let found = losses.rows.iter().position(|loss| !loss.nll.is_finite());
            not_finite = not_finite.or_else(|| rows.get(found?).copied());
            sum.add(&losses);
        }
        Ok((sum, not_finite))
    }

    /// Measures the held-out rows, remembers the best parameters, and counts evaluations that were not better.
    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let (step, epoch) = (self.state.step, self.state.epoch);
        self.keeper.fetch(self.model)?;
        check_params(&self.slots, self.model.params(), step)?;
        let Some(valid) = self.data.valid else {
            return Ok(());
        };
        let counts = self.model.profile().map(Profile::counts);
        let sum = evaluate(self.model, valid, observer)?;
        if let Some((profile, counts)) = self.model.profile().zip(counts) {
            profile.restore(&counts); // a profile is of the steps
        }
        let loss = sum.mean();
        if !loss.is_finite() {
            return Err(Error::NotFinite {
                what: format!("the valid loss is {loss} after step {step}"),
                row: None,
                at_start: false,
            });
        }
        let best = self.state.best.is_none_or(|best| loss < best.loss);
        self.state.valid_loss = Some(loss);
        if best {
            self.state.best = Some(Best { step, loss });
            self.state.worse = 0;
            let params = self.model.params();
            match &mut self.best {
                Some(kept) => kept.copy_from_slice(params), // where the last best lies: one copy, not two for a time
                None => self.best = Some(params.to_vec()),
            }
        } else {
            self.state.worse += 1;
        }
        let patience = self.config.patience;
        self.state.stopped_early = !best && patience.is_some_and(|most| self.state.worse >= most);
        observer.event(&Event::Evaluated(Evaluated {
            step,
            epoch,
            valid_loss: loss,
            token_accuracy: sum.correct as f64 / sum.supervised as f64,
            supervised_tokens: sum.supervised,
            best,
        }));
        if self.state.stopped_early {
            let evaluations = self.state.worse;
            observer.event(&Event::StoppedEarly { evaluations });
        }
        Ok(())
    }

    /// Writes the last and the best model and, last of all, the state that a resumed run starts from.
    fn checkpoint(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else {
            return Ok(());
        };
        let out = &checkpoints.folder;
        self.keeper.fetch(self.model)?;
        let [m, v] = self.keeper.moments(self.model)?;
        save_model(out, "last", &*self.model, self.model.params())?;
        if let Some(best) = &self.best
            && self.state.best.is_some_and(|b| {
                b.step == self.state.step || !out.join("checkpoints/best").exists()
            })
        {
            save_model(out, "best", &*self.model, best)?;
        }
        let mut vectors = vec![
            ("params", self.model.params()),
            ("m", &m[..]),
            ("v", &v[..]),
        ];
        vectors.extend(self.best.as_deref().map(|best| ("best", best)));
        let path = checkpoints.state_file();
        let kept = observer.keep();
        let fingerprint = &checkpoints.fingerprint;
        checkpoint::write(&path, fingerprint, &self.state, &vectors, &kept)?;
        self.is_saved = true;
        let step = self.state.step;
        observer.event(&Event::CheckpointWritten { step, path });
        Ok(())
    }
}

/// Names the row in which something was not finite first.
fn name_row(error: Error, row: Option<usize>) -> Error {
    match error {
        Error::NotFinite { what, at_start, .. } => Error::NotFinite {
            what,
            row,
            at_start,
        },
        other => other,
    }
}
