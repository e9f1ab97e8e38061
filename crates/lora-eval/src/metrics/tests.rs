//! Against sacrebleu 2.6.0, rouge-score 0.1.2 and NLTK (tests/oracle/make_scores.py), and what every metric says of noise.
use super::metric::{Metric, Scale};
use super::{all, porter};
use serde_json::Value;

const SCORES: &str = include_str!("../../../../tests/fixtures/scores/scores.json");
const STEMS: &str = include_str!("../../../../tests/fixtures/scores/stems.json");

fn metric(name: &str) -> Box<dyn Metric> {
    all()
        .into_iter()
        .find(|metric| metric.name() == name)
        .unwrap()
}

fn texts(row: &Value) -> (String, Vec<String>) {
    let references = row["references"].as_array().unwrap().iter();
    let references = references.map(|text| text.as_str().unwrap().to_owned());
    (
        row["answer"].as_str().unwrap().to_owned(),
        references.collect(),
    )
}

#[test]
fn rows_score_as_sacrebleu_and_rouge_score_say() {
    let scores: Value = serde_json::from_str(SCORES).unwrap();
    let rows = scores["rows"].as_array().unwrap();
    for row in rows {
        let (answer, references) = texts(row);
        for name in ["bleu", "chrf", "rouge_l", "rouge_l_stem"] {
            let metric = metric(name);
            let own = metric.figure(&metric.sums(&answer, &references).unwrap());
            let wanted = row[name].as_f64().unwrap();
            assert!((own - wanted).abs() < 1e-9, "{name} of {row}: {own}");
        }
    }
    assert_eq!(rows.len(), 74);
}

#[test]
fn corpora_score_as_sacrebleu_prints_them() {
    let scores: Value = serde_json::from_str(SCORES).unwrap();
    let rows = scores["rows"].as_array().unwrap().iter().map(texts);
    let with_references =
        |(_, references): &(String, Vec<String>)| references.iter().all(|r| !r.is_empty());
    let rows: Vec<_> = rows.filter(with_references).collect();
    for (corpus, most_rows, most_references) in [
        ("all", rows.len(), 99),
        ("first", 10, 99),
        ("single", rows.len(), 1),
    ] {
        for name in ["bleu", "chrf"] {
            let metric = metric(name);
            let mut total: Vec<f64> = Vec::new();
            for (answer, references) in &rows[..most_rows] {
                let references = &references[..references.len().min(most_references)];
                let sums = metric.sums(answer, references).unwrap();
                total.resize(sums.len(), 0.0);
                total
                    .iter_mut()
                    .zip(sums)
                    .for_each(|(total, own)| *total += own);
            }
            let own = format!("{:.2}", metric.figure(&total));
            assert_eq!(
                own,
                scores[corpus][name].as_str().unwrap(),
                "{name} of {corpus}"
            );
        }
    }
}

#[test]
fn words_stem_as_nltk_stems_them() {
    let stems: Value = serde_json::from_str(STEMS).unwrap();
    let stems = stems.as_object().unwrap();
    for (word, stem) in stems {
        assert_eq!(&porter::stem(word), stem, "{word}");
    }
    assert!(stems.len() > 200, "{}", stems.len());
}

/// Expectations of every kind that a metric may have something to say of.
const EXPECTED: [&str; 4] = [
    "The quick brown fox jumps over 12 lazy dogs",
    "{\"name\": \"f\", \"arguments\": {\"a\": 12}}",
    "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 12}}</tool_call>",
    "12",
];

#[test]
fn a_right_answer_has_the_full_score_and_an_empty_one_none() {
    for metric in all() {
        let full = if metric.scale() == Scale::Corpus {
            100.0
        } else {
            1.0
        };
        let mut judged = 0;
        for expected in EXPECTED {
            let references = [expected.to_owned()];
            let Some(right) = metric.sums(expected, &references) else {
                continue;
            };
            // BLEU needs four tokens, and JSON its form, whatever was expected.
            let is_full = metric.figure(&right) > full - 1e-9;
            judged += usize::from(is_full);
            for nothing in ["", "<|endoftext|>", "<|im_start|><|im_end|>", " \n"] {
                let sums = metric.sums(nothing, &references).unwrap();
                let own = metric.figure(&sums);
                assert!(
                    own < 0.2 * full,
                    "{} of {nothing:?} for {expected:?}: {own}",
                    metric.name()
                );
            }
        }
        assert!(judged > 0, "{} has judged nothing", metric.name());
    }
}

#[test]
fn an_empty_expectation_is_never_met() {
    for metric in all().iter().filter(|metric| metric.needs_reference()) {
        for answer in ["", " ", "x", "{}", "<|im_end|>"] {
            for references in [vec![String::new()], vec![" ".to_owned()], Vec::new()] {
                let figure = metric
                    .sums(answer, &references)
                    .map(|sums| metric.figure(&sums));
                let name = metric.name();
                assert!(
                    figure.is_none_or(|own| own == 0.0),
                    "{name} of {answer:?}: {figure:?}"
                );
            }
        }
    }
}

#[test]
fn a_shared_special_token_at_the_start_is_no_answer() {
    let (answer, expected) = ("<|im_start|>delete the boat", "<|im_start|>create a list");
    for name in [
        "exact_match",
        "normalized_match",
        "contains",
        "tool_call",
        "numeric",
    ] {
        let metric = metric(name);
        let sums = metric.sums(answer, &[expected.to_owned()]);
        assert!(
            sums.is_none_or(|sums| metric.figure(&sums) == 0.0),
            "{name}"
        );
    }
}
