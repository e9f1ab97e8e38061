//! What a run tells, and that it goes on where it was stopped.
use crate::line::{Line, points};
use lora_training::{
    Batching, Checkpoints, Data, Decay, Error, Event, Length, Observer, TrainConfig, Trainer,
    state_file,
};
use std::path::Path;

fn config() -> TrainConfig {
    TrainConfig {
        length: Length::Epochs(4.0),
        batching: Batching {
            accumulation: 2,
            ..Batching::of_examples(3)
        },
        lr: 0.05,
        schedule: Decay::Cosine,
        eval_every: Some(3),
        ..TrainConfig::default()
    }
}

fn checkpoints(folder: &Path) -> Checkpoints {
    Checkpoints {
        folder: folder.to_path_buf(),
        fingerprint: serde_json::json!({"lr": 0.05}),
    }
}

/// Stops after so many steps.
struct StopAfter {
    steps: u64,
    seen: u64,
}

impl Observer for StopAfter {
    fn event(&mut self, event: &Event) {
        if let Event::StepDone(step) = event {
            self.seen = step.step;
        }
    }

    fn stop(&self) -> bool {
        self.seen >= self.steps
    }
}

#[test]
fn a_run_tells_its_steps_evaluations_and_checkpoints_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (rows, valid) = (points(17), points(5));
    let data = Data {
        train: &rows,
        valid: Some(&valid),
    };
    let mut line = Line::new();
    let mut told = Vec::new();
    let mut losses = Vec::new();
    let outcome = Trainer::new(config(), data, &mut line)
        .unwrap()
        .with_checkpoints(checkpoints(dir.path()))
        .run(&mut |event: &Event| {
            told.push(match event {
                Event::Started(started) => format!("{} steps", started.total_steps),
                Event::StepDone(step) => {
                    losses.push(step.loss);
                    format!("step {}", step.step)
                }
                Event::Evaluated(found) => format!("evaluated {}", found.step),
                Event::CheckpointWritten { step, path } => {
                    assert!(path.is_file());
                    format!("checkpoint {step}")
                }
                Event::Evaluating { .. } => return,
                other => format!("{other:?}"),
            });
        })
        .unwrap();
    assert_eq!(told[0], "12 steps");
    assert_eq!(
        told[1..6],
        ["step 1", "step 2", "step 3", "evaluated 3", "checkpoint 3"]
    );
    assert_eq!(told.len(), 1 + 12 + 2 * 4);
    assert_eq!((outcome.state.step, outcome.state.epoch), (12, 4.0));
    assert!(losses[11] < 0.8 * losses[0], "{losses:?}");
    // Six micro-batches an epoch; windows of two.
    assert_eq!(line.numbers, (0..24).collect::<Vec<_>>());
    assert!(dir.path().join("checkpoints/last/line").is_file());
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_parameters() {
    let rows = points(17);
    let data = Data {
        train: &rows,
        valid: Some(&rows[..4]),
    };
    let mut whole = Line::new();
    let outcome = Trainer::new(config(), data, &mut whole)
        .unwrap()
        .run(&mut |_: &Event| {})
        .unwrap();
    for steps in 1..12 {
        let dir = tempfile::tempdir().unwrap();
        let mut cut = Line::new();
        let error = Trainer::new(config(), data, &mut cut)
            .unwrap()
            .with_checkpoints(checkpoints(dir.path()))
            .run(&mut StopAfter { steps, seen: 0 })
            .unwrap_err();
        assert!(matches!(error, Error::Interrupted { step } if step == steps));
        assert!(state_file(dir.path()).is_file());
        let mut again = Line::new();
        let mut trainer = Trainer::new(config(), data, &mut again)
            .unwrap()
            .with_checkpoints(checkpoints(dir.path()));
        assert!(trainer.resume().unwrap().kept.is_some());
        assert_eq!(trainer.step(), steps);
        let resumed = trainer.run(&mut |_: &Event| {}).unwrap();
        assert_eq!(again.params, whole.params);
        assert_eq!(resumed.best, outcome.best);
    }
}

/// 17 rows in batches of 3, windows of 2 batches: the last batch of an epoch has 2 rows.
#[test]
fn a_step_has_the_mean_of_its_batches_balances() {
    let rows = points(17);
    let data = Data {
        train: &rows,
        valid: None,
    };
    let run = |coefficient| {
        let config = TrainConfig {
            router_aux_loss_coef: coefficient,
            length: Length::Epochs(1.0),
            batching: Batching {
                accumulation: 4,
                ..config().batching
            },
            ..config()
        };
        let (mut line, mut told) = (Line::new(), Vec::new());
        let mut tell = |event: &Event| {
            if let Event::StepDone(step) = event {
                told.push(step.aux_loss);
            }
        };
        Trainer::new(config, data, &mut line)
            .unwrap()
            .run(&mut tell)
            .unwrap();
        (line.balances, told)
    };
    let (weights, told) = run(0.5);
    let of = |batches: f32| Some(0.5 / batches);
    assert_eq!(
        weights,
        [of(4.0), of(4.0), of(4.0), of(4.0), of(2.0), of(2.0)]
    );
    assert_eq!(told, [Some(3.0), Some(2.5)]);
    assert_eq!(run(0.0), (vec![None; 6], vec![None; 2]));
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_none_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let rows = points(9);
    let data = Data {
        train: &rows,
        valid: None,
    };
    let mut line = Line::new();
    let mut trainer = Trainer::new(config(), data, &mut line)
        .unwrap()
        .with_checkpoints(checkpoints(dir.path()));
    assert!(trainer.resume().unwrap().kept.is_none());
    trainer
        .run(&mut StopAfter { steps: 2, seen: 0 })
        .unwrap_err();
    let other = Checkpoints {
        fingerprint: serde_json::json!({"lr": 0.1}),
        ..checkpoints(dir.path())
    };
    let mut line = Line::new();
    let error = Trainer::new(config(), data, &mut line)
        .unwrap()
        .with_checkpoints(other)
        .resume()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the interrupted run had another lr: 0.05, not 0.1"
    );
}

#[test]
fn settings_that_no_run_can_have_are_refused() {
    let rows = points(3);
    let refusal = |config: TrainConfig, rows: usize| {
        let mut line = Line::new();
        let all = points(rows);
        let data = Data {
            train: &all,
            valid: None,
        };
        let error = Trainer::new(config, data, &mut line).err();
        error.map_or(String::new(), |error| error.to_string())
    };
    assert_eq!(refusal(config(), rows.len()), "");
    assert_eq!(refusal(config(), 0), "there is no row to train on");
    let with = |change: fn(&mut TrainConfig)| {
        let mut config = config();
        change(&mut config);
        refusal(config, 3)
    };
    for (found, name) in [
        (with(|c| c.lr = f64::NAN), "lr is NaN"),
        (with(|c| c.warmup = -1.0), "warmup is -1"),
        (with(|c| c.weight_decay = -0.1), "weight-decay is -0.1"),
        (with(|c| c.clip = f64::INFINITY), "clip is inf"),
        (
            with(|c| c.length = Length::Epochs(0.0)),
            "length is 0 epochs",
        ),
        (with(|c| c.length = Length::Steps(0)), "length is 0 steps"),
        (with(|c| c.eval_every = Some(0)), "eval-every is 0"),
        (
            with(|c| c.router_aux_loss_coef = f64::NAN),
            "router-aux-loss-coef is NaN",
        ),
        (
            with(|c| c.batching.accumulation = 0),
            "batching.accumulation is 0",
        ),
        (
            with(|c| c.batching.examples = Some(0)),
            "batching.examples is 0",
        ),
    ] {
        assert!(found.starts_with(name), "{found:?}, not {name}");
    }
}

#[test]
fn a_config_is_plain_serde() {
    let text = r#"{"length": {"steps": 5}, "batching": {"examples": 4}, "lr": 0.001, "schedule": "constant"}"#;
    let read: TrainConfig = serde_json::from_str(text).unwrap();
    assert_eq!(read.length, Length::Steps(5));
    assert_eq!((read.batching, read.seed), (Batching::of_examples(4), 0));
    let again = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
    assert_eq!(read, again);
    let error = serde_json::from_str::<TrainConfig>(r#"{"learning_rate": 1}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field"), "{error}");
}
