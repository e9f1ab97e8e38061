//! What is written is read again; what is damaged is an error that names its place.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly, in its helpers too
use lora_records::{
    Answer, Event, Failure, Metric, Prediction, Progress, Report, metric_lines_until, read_metrics,
    read_predictions,
};
use lora_testkit::Told as _;
use std::fs;
use tempfile::tempdir;

/// Lines as version 0.1.0 of lora-train wrote them.
const METRICS: &str = concat!(
    r#"{"event":"step","step":1,"epoch":0.5,"loss":2.5,"grad_norm":1.25,"lr":0.0001,"tokens":90,"supervised_tokens":30,"tokens_per_s":512.5}"#,
    "\n",
    r#"{"event":"eval","step":1,"epoch":0.5,"valid_loss":2.25,"token_accuracy":0.5,"supervised_tokens":12,"best":true}"#,
    "\n"
);

#[test]
fn metrics_are_read_as_they_were_written_and_written_as_they_were_read() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("metrics.jsonl"), METRICS).unwrap();
    let metrics = read_metrics(dir.path(), true).unwrap();
    assert_eq!(metrics.len(), 2);
    assert!(matches!(metrics[0], Metric::Step(step) if step.loss == 2.5 && step.tokens == 90));
    assert!(matches!(metrics[1], Metric::Eval(eval) if eval.best && eval.step == 1));
    let again: String = metrics
        .iter()
        .map(|metric| serde_json::to_string(metric).unwrap() + "\n")
        .collect();
    assert_eq!(again, METRICS);
}

#[test]
fn a_damaged_line_is_an_error_with_file_and_line() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("metrics.jsonl");
    let error = |text: &str, finished| {
        fs::write(&file, text).unwrap();
        let error = read_metrics(dir.path(), finished).unwrap_err().told();
        error.replace(&dir.path().display().to_string(), "OUT")
    };
    let cut = &METRICS[..METRICS.len() - 20];
    let told = error(cut, true);
    assert!(told.starts_with("OUT/metrics.jsonl, line 2: "), "{told}");
    assert!(told.ends_with("\nhint: expected the lines that lora-train writes"));
    assert_eq!(read_metrics(dir.path(), false).unwrap().len(), 1);

    let in_the_middle = METRICS.replacen("\"loss\":2.5", "\"loss\":NaN", 1);
    for finished in [true, false] {
        let told = error(&in_the_middle, finished);
        assert!(told.starts_with("OUT/metrics.jsonl, line 1: "), "{told}");
    }
    let blank = METRICS.replacen('\n', "\n\n", 1);
    assert!(error(&blank, true).starts_with("OUT/metrics.jsonl, line 2: "));
    let other = METRICS.replace("\"event\":\"eval\"", "\"event\":\"party\"");
    assert!(error(&other, true).contains("line 2: unknown variant `party`"));
}

#[test]
fn a_continued_run_keeps_the_lines_up_to_its_step_as_they_are() {
    let dir = tempdir().unwrap();
    assert_eq!(metric_lines_until(dir.path(), 1).unwrap(), "");
    let later = METRICS.replace("\"step\":1,", "\"step\":2,");
    let text = format!("{METRICS}{later}{{\"event\":\"st");
    fs::write(dir.path().join("metrics.jsonl"), &text).unwrap();
    assert_eq!(metric_lines_until(dir.path(), 1).unwrap(), METRICS);
    let damaged = text.replacen("\"event\":\"eval\"", "\"event\"", 1);
    fs::write(dir.path().join("metrics.jsonl"), damaged).unwrap();
    assert!(metric_lines_until(dir.path(), 1).is_err());
}

#[test]
fn predictions_keep_the_order_of_their_models() {
    let dir = tempdir().unwrap();
    let line = concat!(
        r#"{"id":"a","prompt":"p","expected":"e","models":{"base":{"text":"x","exact":false,"ids":[1,2],"nll":3.5,"tokens":2,"correct":1},"#,
        r#""adapter":{"text":null,"exact":null,"ids":null,"nll":0.5,"tokens":2,"correct":2}}}"#,
        "\n"
    );
    let file = dir.path().join("predictions.jsonl");
    fs::write(&file, line).unwrap();
    let rows = read_predictions(dir.path()).unwrap();
    let names: Vec<&str> = rows[0].models.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["base", "adapter"]);
    assert_eq!(rows[0].of("base").unwrap().ids, Some(vec![1, 2]));
    assert_eq!(serde_json::to_string(&rows[0]).unwrap() + "\n", line);

    fs::write(
        &file,
        line.repeat(2).replace("\"nll\":0.5", "\"nll\":\"?\""),
    )
    .unwrap();
    let error = read_predictions(dir.path()).unwrap_err().told();
    assert!(error.contains("predictions.jsonl, line 1: "), "{error}");
}

#[test]
fn a_report_of_another_version_or_without_one_is_refused() {
    let dir = tempdir().unwrap();
    let error = |text: &str| {
        fs::write(dir.path().join("report.json"), text).unwrap();
        let error = Report::read(dir.path()).unwrap_err().told();
        error.replace(&dir.path().display().to_string(), "OUT")
    };
    assert_eq!(
        error("{\"version\": 7}"),
        "OUT/report.json: a report of version 7, and this tool reads version 1\n\
         hint: make it again with this release's lora-eval"
    );
    assert!(error("{}").starts_with("OUT/report.json: not a report: it has no version"));
    assert!(error("{").starts_with("OUT/report.json: EOF while parsing"));
    assert!(error("{\"version\": 1}").starts_with("OUT/report.json: missing field"));
}

#[test]
fn events_are_told_from_other_lines() {
    let events = [
        Event::Progress(Progress {
            label: "train".into(),
            done: 3,
            before: 0,
            total: 9,
            unit: "step".into(),
            message: "loss 1.2".into(),
            ended: false,
        }),
        Event::Error(Failure {
            message: "no such base".into(),
            causes: vec!["not found".into()],
            hint: Some("check the path".into()),
            exit_code: 2,
        }),
    ];
    for event in events {
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(Event::parse(&line), Some(event));
    }
    assert_eq!(Event::parse(METRICS.lines().next().unwrap()), None);
    assert_eq!(Event::parse("{\"version\":1}"), None);
    assert_eq!(Event::parse("error: it failed"), None);
}

#[test]
fn what_a_row_says_is_what_it_was_given() {
    let row = Prediction {
        id: "i".into(),
        prompt: "p\n\u{0}\"".into(),
        expected: None,
        references: vec!["r".into()],
        models: vec![(
            "base".into(),
            Answer {
                text: Some("ä".into()),
                exact: Some(true),
                ids: None,
                taken: None,
                samples: Vec::new(),
                scores: serde_json::Map::from_iter([("bleu".to_owned(), 0.1.into())]),
                nll: 0.1 + 0.2,
                tokens: 1,
                correct: 1,
            },
        )],
    };
    let text = serde_json::to_string(&row).unwrap();
    assert_eq!(serde_json::from_str::<Prediction>(&text).unwrap(), row);
}
