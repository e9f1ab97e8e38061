//! An adapter that learns on a device takes the steps that it takes on the host.
use lora_core::{Adapter, LoraConfig, TargetModules};
use lora_data::Example;
use lora_gpu::{OnCpu, Precision};
use lora_model::{Base, Fused, OnGpu, Route};
use lora_training::{
    Batching, Checkpoints, Data, Error, Event, Length, LoraSettings, LoraTrainable, Observer,
    TrainConfig, Trainable as _, Trainer,
};
use std::path::{Path, PathBuf};

fn base() -> Base {
    let golden = "../../tests/fixtures/golden/llama_gqa_tied/base";
    Base::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(golden)).unwrap()
}

fn rows() -> Vec<Example> {
    let row = |seed: u32| {
        let ids: Vec<u32> = (0..6 + seed % 5)
            .map(|i| 3 + (i * 7 + seed * 3) % 40)
            .collect();
        Example {
            labels: ids.iter().map(|&id| id as i32).collect(),
            input_ids: ids,
            id: String::new(),
            group: String::new(),
            prompt: String::new(),
            completion: String::new(),
        }
    };
    (0..10).map(row).collect()
}

fn config() -> TrainConfig {
    TrainConfig {
        length: Length::Steps(12),
        batching: Batching {
            examples: Some(2),
            accumulation: 3,
            ..Batching::default()
        },
        lr: 1e-2,
        weight_decay: 0.1,
        eval_every: Some(4),
        ..TrainConfig::default()
    }
}

/// Losses and norms of the steps; stops after so many.
struct Watch {
    steps: Vec<(f64, f64)>,
    valid: Vec<f64>,
    most: usize,
}

impl Observer for Watch {
    fn event(&mut self, event: &Event) {
        match event {
            Event::StepDone(step) => self.steps.push((step.loss, step.grad_norm)),
            Event::Evaluated(found) => self.valid.push(found.valid_loss),
            _ => {}
        }
    }

    fn stop(&self) -> bool {
        self.steps.len() >= self.most
    }
}

/// Trains `most` steps at most, or goes on from a folder; the watch, and the parameters at the end.
fn train(route: Box<dyn Route + '_>, base: &Base, out: &Path, most: usize) -> (Watch, Vec<f32>) {
    let mut lora = LoraConfig::new(4, 8.0, TargetModules::AllLinear);
    lora.lora_dropout = 0.1;
    let adapter = Adapter::init(lora, base, 3).unwrap();
    let settings = LoraSettings {
        seed: 3,
        lr: config().lr,
        lora_plus_ratio: Some(4.0),
    };
    let mut model = LoraTrainable::new(route, adapter, settings);
    let rows = rows();
    let data = Data {
        train: &rows,
        valid: Some(&rows[..3]),
    };
    let checkpoints = Checkpoints {
        folder: PathBuf::from(out),
        fingerprint: serde_json::json!({}),
    };
    let mut watch = Watch {
        steps: Vec::new(),
        valid: Vec::new(),
        most,
    };
    let mut trainer = Trainer::new(config(), data, &mut model)
        .unwrap()
        .with_checkpoints(checkpoints);
    trainer.resume().unwrap();
    match trainer.run(&mut watch) {
        Ok(_) | Err(Error::Interrupted { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    (watch, model.params().to_vec())
}

fn on_device(base: &Base) -> Box<dyn Route + '_> {
    Box::new(OnGpu::new(base, OnCpu::gpu(Precision::F32), None).unwrap())
}

#[test]
fn steps_on_a_device_are_those_on_the_host() {
    let base = base();
    let folder = tempfile::tempdir().unwrap();
    let on_host = Box::new(Fused::new(&base, 2).unwrap());
    let (host, expected) = train(on_host, &base, &folder.path().join("host"), usize::MAX);
    let there = folder.path().join("device");
    let (device, found) = train(on_device(&base), &base, &there, usize::MAX);
    assert_eq!(device.steps.len(), 12);
    for (a, b) in device.steps.iter().zip(&host.steps) {
        assert!((a.0 / b.0 - 1.0).abs() <= 1e-4, "loss {} and {}", a.0, b.0);
        assert!((a.1 / b.1 - 1.0).abs() <= 1e-3, "norm {} and {}", a.1, b.1);
    }
    for (a, b) in device.valid.iter().zip(&host.valid) {
        assert!((a / b - 1.0).abs() <= 1e-4, "valid loss {a} and {b}");
    }
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0f32, f32::max);
    assert!(worst <= 1e-3, "parameters: {worst}"); // a step moves a value by about lr = 1e-2
}

#[test]
fn a_run_on_a_device_that_was_stopped_goes_on_to_the_same_bits() {
    let base = base();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let (_, expected) = train(on_device(&base), &base, &whole, usize::MAX);
    let parts = folder.path().join("parts");
    train(on_device(&base), &base, &parts, 5);
    let (watch, found) = train(on_device(&base), &base, &parts, usize::MAX);
    assert_eq!(watch.steps.len(), 12 - 5);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found), bits(&expected));
}
