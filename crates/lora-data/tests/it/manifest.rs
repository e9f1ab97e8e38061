//! dataset.json: figures, and strict reading.
use lora_data::{Distribution, Manifest, SplitName, SplitSummary, Splits, share_of, splits_of};
use lora_testkit::Told as _;
use std::collections::BTreeMap;

fn manifest() -> Manifest {
    let train = SplitSummary::of(&[]);
    Manifest {
        version: 1,
        rows_read: 3,
        unused_keys: BTreeMap::from([("category".to_owned(), 3)]),
        notes: BTreeMap::from([("lost their oldest turns".to_owned(), 1)]),
        refused: BTreeMap::from([("the completion is empty".to_owned(), 2)]),
        sources: BTreeMap::new(),
        splits: Splits {
            train,
            valid: None,
            test: None,
        },
        tokenizer_sha256: "t".into(),
        added_tokens: Vec::new(),
        template_sha256: None,
        system: None,
    }
}

#[test]
fn a_distribution_is_of_its_values() {
    let made = Distribution::of((1..=101).rev().collect());
    assert_eq!(
        made,
        Distribution {
            min: 1,
            mean: 51.0,
            p50: 51,
            p90: 91,
            max: 101
        }
    );
    assert_eq!(
        Distribution::of(vec![7]),
        Distribution {
            min: 7,
            mean: 7.0,
            p50: 7,
            p90: 7,
            max: 7
        }
    );
    assert_eq!(
        Distribution::of(vec![]),
        Distribution {
            min: 0,
            mean: 0.0,
            p50: 0,
            p90: 0,
            max: 0
        }
    );
}

#[test]
fn save_then_load_is_the_identity_and_the_reader_is_strict() {
    let folder = tempfile::tempdir().unwrap();
    manifest().write(folder.path()).unwrap();
    assert_eq!(Manifest::read(folder.path()).unwrap(), manifest());
    let file = folder.path().join("dataset.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to, expected) in [
        (
            "\"version\": 1",
            "\"version\": 2",
            "version is 2, but only 1 is known\nhint: ",
        ),
        (
            "\"rows_read\"",
            "\"rows_reed\"",
            "unknown field `rows_reed`",
        ),
        ("\"rows_read\": 3", "\"rows_read\": -3", "invalid value"),
        ("{", "", "line 2"),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err().told();
        assert!(
            error.contains(expected) && error.contains("dataset.json"),
            "{error}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    assert!(
        Manifest::read(folder.path())
            .unwrap_err()
            .told()
            .starts_with("failed to read")
    );
}

#[test]
fn a_group_has_one_split_about_as_often_as_asked() {
    let mut counts = BTreeMap::new();
    let shares: Vec<f64> = (0..20_000).map(|group| share_of(&group, 7)).collect();
    let splits = splits_of(&shares, 0.1, 0.2);
    let fewer = splits_of(&shares[..10_000], 0.1, 0.2);
    assert_eq!(
        splits[..10_000],
        fewer,
        "a group stays when others are added"
    );
    for name in splits {
        *counts.entry(name).or_insert(0) += 1;
    }
    assert!(
        (1800..2200).contains(&counts[&SplitName::Valid]),
        "{counts:?}"
    );
    assert!(
        (3700..4300).contains(&counts[&SplitName::Test]),
        "{counts:?}"
    );
    let one = |seed, valid| splits_of(&[share_of(&"a", seed)], valid, 0.0)[0];
    assert_eq!(one(0, 0.0), SplitName::Train);
    let seeds: Vec<_> = (0..50).map(|seed| one(seed, 0.5)).collect();
    assert!(seeds.contains(&SplitName::Train) && seeds.contains(&SplitName::Valid));
}
