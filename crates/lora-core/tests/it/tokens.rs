//! Rows of the vocabulary that train alone: which they are, and what is refused.
use crate::support::{Told, list, llama};
use lora_core::{Adapter, BaseModel, Error, LoraConfig, Module, TokenIndices, adapter_vocabulary};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

/// A model of two layers, hidden 8, with 20 tokens.
fn modules(tied: bool) -> Vec<Module> {
    let mut modules = vec![Module::embedding("model.embed_tokens", 20, 8)];
    modules.extend(llama(2, 8, 4, 12, 20));
    modules.iter_mut().for_each(|m| m.tied = tied && m.is_head);
    modules
}

fn config(indices: TokenIndices) -> LoraConfig {
    LoraConfig {
        trainable_token_indices: indices,
        ..LoraConfig::new(2, 4.0, list(&["q_proj"]))
    }
}

fn of(named: &[(&str, &[usize])]) -> TokenIndices {
    let named = named
        .iter()
        .map(|(name, rows)| (name.to_string(), rows.to_vec()));
    TokenIndices::Modules(named.collect())
}

/// What trains, as (paths, rows).
fn rows(indices: TokenIndices, tied: bool) -> Vec<(Vec<String>, Vec<usize>)> {
    let layout = config(indices).layout(&modules(tied)).unwrap();
    layout
        .rows
        .into_iter()
        .map(|own| (own.paths, own.rows))
        .collect()
}

#[test]
fn a_list_is_of_the_embedding_and_of_the_head_that_is_tied_to_it() {
    let own = |paths: &[&str], rows: &[usize]| {
        (
            paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            rows.to_vec(),
        )
    };
    let (table, head) = ("model.embed_tokens", "lm_head");
    let list = || TokenIndices::Embedding(vec![9, 3]);
    assert_eq!(rows(list(), false), [own(&[table], &[9, 3])]);
    assert_eq!(rows(list(), true), [own(&[table, head], &[9, 3])]);
    let both = of(&[("lm_head", &[9, 3]), ("embed_tokens", &[9, 3])]);
    assert_eq!(rows(both.clone(), true), [own(&[table, head], &[9, 3])]);
    assert_eq!(
        rows(both, false),
        [own(&[table], &[9, 3]), own(&[head], &[9, 3])]
    );
    let apart = of(&[("lm_head", &[9]), ("embed_tokens", &[9, 3])]);
    for tied in [true, false] {
        assert_eq!(
            rows(apart.clone(), tied),
            [own(&[table], &[9, 3]), own(&[head], &[9])]
        );
    }
    assert_eq!(rows(of(&[("lm_head", &[9])]), true), [own(&[head], &[9])]);
}

/// A model whose values are their places.
struct Counted(Vec<Module>);

impl BaseModel for Counted {
    fn modules(&self) -> Vec<Module> {
        self.0.clone()
    }

    fn read(&self, _: &str, first: usize, out: &mut [f32]) -> Result<(), Error> {
        (first..)
            .zip(out)
            .for_each(|(at, value)| *value = at as f32);
        Ok(())
    }
}

#[test]
fn rows_begin_as_the_bases_and_are_saved_under_pefts_name() {
    let base = Counted(modules(true));
    let mut adapter = Adapter::init(config(TokenIndices::Embedding(vec![9, 3])), &base, 1).unwrap();
    let (own, values) = adapter.rows_of("lm_head").unwrap();
    assert_eq!((values[0], values[8], values.len()), (72.0, 24.0, 16));
    assert_eq!((own.place_of(3), own.place_of(4)), (Some(1), None));
    adapter.set_row("lm_head", 3, &[1.5; 8]);
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let bytes = std::fs::read(dir.path().join("adapter_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
    let tensor = file.tensor(name).unwrap();
    assert_eq!(
        (tensor.shape(), &tensor.data()[32..36]),
        (&[2, 8][..], &1.5f32.to_le_bytes()[..])
    );
    assert_eq!(
        Adapter::load(dir.path(), &base).unwrap(),
        (adapter, Vec::new())
    );
    let found = lora_core::adapter_vocabulary(dir.path(), ("model.embed_tokens", "lm_head"), 20);
    assert_eq!(
        (found.as_ref().unwrap().rows, found.unwrap().tokens),
        (None, vec![3, 9])
    );
}

#[test]
fn rows_that_can_not_train_are_refused_with_the_reason() {
    let table = TokenIndices::Embedding(vec![2]);
    let told = |config: LoraConfig, tied| config.layout(&modules(tied)).unwrap_err().told();
    for (indices, reason) in [
        (
            TokenIndices::Embedding(vec![20]),
            "names token 20, and model.embed_tokens has 20 rows",
        ),
        (
            TokenIndices::Embedding(vec![4, 1, 4]),
            "names token 4 twice",
        ),
        (
            of(&[("q_proj", &[1])]),
            "names `q_proj`, which is not one module",
        ),
        (
            of(&[("layers.0.self_attn.q_proj", &[1])]),
            "whose rows are no tokens",
        ),
        (
            of(&[("embed_tokens", &[1]), ("tokens", &[2])]),
            "names model.embed_tokens twice",
        ),
    ] {
        let error = told(config(indices), false);
        assert!(error.contains(reason), "{error}");
    }
    let saved = LoraConfig {
        modules_to_save: vec!["lm_head".into()],
        ..config(table.clone())
    };
    assert!(saved.layout(&modules(false)).is_ok());
    assert!(told(saved, true).contains("lm_head is in modules_to_save"));
    let targeted = LoraConfig {
        target_modules: list(&["embed_tokens"]),
        ..config(table)
    };
    assert!(told(targeted, false).contains("model.embed_tokens carries LoRA"));
    let tying = LoraConfig {
        ensure_weight_tying: true,
        ..config(of(&[("lm_head", &[9]), ("embed_tokens", &[3])]))
    };
    assert!(told(tying, true).contains("ensure_weight_tying asks for the same"));
}

/// A tensor of 0 by 4,000,000,000 takes no bytes: it must not ask for as many rows.
#[test]
fn a_table_without_values_brings_no_rows() {
    let dir = tempfile::tempdir().unwrap();
    let json =
        r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens"]}"#;
    std::fs::write(dir.path().join("adapter_config.json"), json).unwrap();
    for (shape, rows) in [([0, 4_000_000_000], None), ([2, 30], Some(30))] {
        let bytes = vec![0; 4 * shape[0] * shape[1]];
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        let name = "base_model.model.model.embed_tokens.lora_embedding_A";
        let file = dir.path().join("adapter_model.safetensors");
        serialize_to_file([(name, view)], None, &file).unwrap();
        let found = adapter_vocabulary(dir.path(), ("model.embed_tokens", "lm_head"), 20).unwrap();
        assert_eq!(found.rows, rows);
    }
}
