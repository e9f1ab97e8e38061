//! Counting backwards: every setting of the overview is found again from its number alone.
use lora_core::{LoraConfig, Targets};
use lora_plan::{Known, Match, RANKS, Shape, TARGETS, count, explain};

#[test]
fn the_known_answer() {
    let shape = Shape::known(&Known::named("llama-3-8b").unwrap());
    assert_eq!(shape.name, "llama-3-8b");
    let found = explain(&shape, 3_407_872).unwrap();
    let first = &found.matches[0];
    assert_eq!(
        (first.rank, &first.targets[0][..]),
        (8, &["q_proj".to_owned(), "v_proj".to_owned()][..])
    );
    assert_eq!(first.preset.as_deref(), Some("attention"));
    assert_eq!(first.full_rank, (1024, 4096));
    assert_eq!(
        found.line,
        "trainable params: 3,407,872 || all params: 8,033,669,120 || trainable%: 0.0424"
    );
    assert_eq!(
        explain(&shape, 41_943_040).unwrap().matches[0]
            .preset
            .as_deref(),
        Some("all")
    );
}

#[test]
fn explaining_undoes_counting() {
    let mut walked = 0;
    for shape in Known::all().iter().map(Shape::known) {
        let modules = lora_model::spec::modules(&shape.config);
        let all = "all".parse::<Targets>().unwrap().resolve(&modules).unwrap();
        let config = LoraConfig::new(1, 1.0, all);
        // Beside experts all that can carry LoRA is the attention: two sets are one, and the first name stands.
        let is_same = |a: &str, b: &str| {
            a == b || (shape.config.experts.is_some() && [a, b] == ["full-attention", "all"])
        };
        for row in count(&shape, &config).unwrap().overview {
            let found = explain(&shape, row.count.trainable).unwrap();
            let is_it = |m: &&Match| {
                m.preset
                    .as_deref()
                    .is_some_and(|own| is_same(own, &row.targets))
                    && m.rank == row.rank
            };
            let again = found
                .matches
                .iter()
                .find(is_it)
                .unwrap_or_else(|| panic!("{} {row:?}: {found:?}", shape.name));
            assert_eq!(again.count, row.count);
            let first = &found.matches[0];
            assert!(
                first.preset.is_some() && first.rank.is_power_of_two(),
                "{found:?}"
            );
            walked += 1;
        }
    }
    assert_eq!(walked, Known::all().len() * RANKS.len() * TARGETS.len());
}

#[test]
fn a_part_of_the_layers_and_nothing_at_all() {
    let shape = Shape::known(&Known::named("llama-3-8b").unwrap());
    let half = explain(&shape, 3_407_872 / 32 * 5).unwrap();
    assert!(
        half.matches
            .iter()
            .all(|m| m.count.trainable == 3_407_872 / 32 * 5),
        "{half:?}"
    );
    assert!(explain(&shape, 7).unwrap().matches.is_empty());
}
