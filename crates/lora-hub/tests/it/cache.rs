//! What lies in the cache, and how little is asked for once it does.
use crate::{Noted, World};
use lora_hub::{Hub, Kind, Name, Want};
use lora_testkit::hub::{Answer, COMMIT, Repository};
use std::fs;
use std::path::Path;

#[test]
fn a_model_is_fetched_once_and_lies_as_huggingface_hub_lays_it() {
    let world = World::new();
    let path = world.fetch("hub:org/tiny").unwrap();
    let repository = world.settings.cache.join("models--org--tiny");
    assert_eq!(path, repository.join("snapshots").join(COMMIT));
    assert_eq!(
        fs::read_to_string(repository.join("refs/main")).unwrap(),
        COMMIT
    );
    let mut files = 0;
    for entry in fs::read_dir(lora_testkit::tiny_chat()).unwrap() {
        let name = entry.unwrap().file_name();
        let original = fs::read(lora_testkit::tiny_chat().join(&name)).unwrap();
        assert_eq!(fs::read(path.join(&name)).unwrap(), original);
        #[cfg(unix)]
        assert!(
            fs::read_link(path.join(&name))
                .unwrap()
                .starts_with("../../blobs")
        );
        files += 1;
    }
    assert_eq!((files, world.finished()), (6, 6));
    let asked = world.hub.log().len();
    assert_eq!(asked, 7);
    // By its commit nothing is asked for again, by its branch the commit alone.
    assert_eq!(
        world.fetch(&format!("hub:org/tiny@{COMMIT}")).unwrap(),
        path
    );
    assert_eq!(world.hub.log().len(), asked);
    assert_eq!(world.fetch("hub:org/tiny@main").unwrap(), path);
    assert_eq!(world.hub.log().len(), asked + 1);
}

#[test]
fn offline_what_was_fetched_is_found_and_nothing_else() {
    let mut world = World::new();
    let path = world.fetch("hub:org/tiny").unwrap();
    let asked = world.hub.log().len();
    world.settings.offline = true;
    assert_eq!(world.fetch("hub:org/tiny").unwrap(), path);
    assert!(
        world
            .fetch("hub:org/other")
            .unwrap_err()
            .contains("HF_HUB_OFFLINE is set")
    );
    fs::remove_file(path.join("chat_template.jinja")).unwrap();
    let error = world.fetch("hub:org/tiny").unwrap_err();
    assert!(
        error.contains("only partly in the cache: chat_template.jinja is missing"),
        "{error}"
    );
    assert_eq!(world.hub.log().len(), asked);
}

#[test]
fn what_another_tool_fetched_is_found_without_our_list() {
    let mut world = World::new();
    let path = world.fetch("hub:org/tiny").unwrap();
    world.settings.offline = true;
    world.settings.lists = None;
    assert_eq!(world.fetch("hub:org/tiny").unwrap(), path);
    // A part of the shards is not a model.
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    fs::write(path.join("model.safetensors.index.json"), index).unwrap();
    fs::rename(
        path.join("model.safetensors"),
        path.join("model-1.safetensors"),
    )
    .unwrap();
    let error = world.fetch("hub:org/tiny").unwrap_err();
    assert!(error.contains("model-2.safetensors is missing"), "{error}");
}

#[test]
fn a_hub_that_is_gone_is_done_without_and_that_is_said() {
    let mut world = World::new();
    let path = world.fetch("hub:org/tiny").unwrap();
    world.settings.endpoint = "http://127.0.0.1:9".to_owned();
    let mut noted = Noted::default();
    assert_eq!(
        world
            .fetch_as("hub:org/tiny", Want::Model, &mut noted)
            .unwrap(),
        path
    );
    let said = noted.lines.join("\n");
    assert!(
        said.contains(
            "can't reach 127.0.0.1: it refuses the connection; going on with hub:org/tiny"
        ),
        "{said}"
    );
    let error = world.fetch("hub:org/other").unwrap_err();
    assert!(
        error.starts_with("can't reach 127.0.0.1: it refuses the connection\nhint: "),
        "{error}"
    );
}

#[test]
fn a_download_that_was_ended_goes_on_where_it_ended() {
    let world = World::new();
    let mut noted = Noted {
        most: Some(700_000),
        ..Noted::default()
    };
    let error = world
        .fetch_as("hub:org/tiny", Want::Model, &mut noted)
        .unwrap_err();
    assert!(error.starts_with("interrupted"), "{error}");
    assert_eq!(world.finished(), 5); // all but the weights
    let path = world.fetch("hub:org/tiny").unwrap();
    let log = world.hub.log();
    let last = log.last().unwrap();
    assert!(
        last.path.ends_with("model.safetensors") && last.headers.contains_key("range"),
        "{last:?}"
    );
    let original = fs::read(lora_testkit::tiny_chat().join("model.safetensors")).unwrap();
    assert!(fs::read(path.join("model.safetensors")).unwrap() == original);
}

#[test]
fn a_damaged_blob_is_fetched_again_and_so_is_a_spoilt_part() {
    let world = World::new();
    let path = world.fetch("hub:org/tiny").unwrap();
    let weights = path.join("model.safetensors");
    let blob = fs::canonicalize(&weights).unwrap();
    let original = fs::read(&blob).unwrap();
    fs::write(&blob, &original[..1000]).unwrap();
    world.fetch("hub:org/tiny").unwrap();
    assert!(fs::read(&weights).unwrap() == original);
    // What an earlier process left is not what the hub has.
    let partial = format!("{}.incomplete", blob.display());
    fs::remove_file(&blob).unwrap();
    fs::write(&partial, vec![7; 5000]).unwrap();
    world.fetch("hub:org/tiny").unwrap();
    assert!(fs::read(&weights).unwrap() == original);
    assert!(!Path::new(&partial).exists());
}

#[test]
fn a_name_is_pinned_without_a_download() {
    let world = World::new();
    let name = Name::parse(Path::new("hub:org/tiny/config.json")).unwrap();
    assert_eq!(
        Hub::pinned_in_cache(&world.settings, &name, Kind::Model),
        None
    );
    let pinned = Hub::new(&world.settings, &mut Noted::default())
        .pin(&name, Kind::Model)
        .unwrap();
    assert_eq!(
        pinned.to_string(),
        format!("hub:org/tiny@{COMMIT}/config.json")
    );
    assert_eq!(
        Hub::pinned_in_cache(&world.settings, &name, Kind::Model),
        Some(pinned)
    );
    assert_eq!(world.hub.log().len(), 1);
    assert_eq!(world.finished(), 0);
}

#[test]
fn rows_and_single_files_come_from_where_they_are_named() {
    let repository = |kind, id: &str, files: &[(&str, &[u8])]| Repository {
        kind,
        id: id.to_owned(),
        files: files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect(),
    };
    let rows: [(&str, &[u8]); 2] = [("data/train-0.jsonl", b"{}\n"), ("README.md", b"# rows")];
    let files: [(&str, &[u8]); 2] = [("a b.gguf", &[1; 30_000]), ("c.gguf", &[2; 30_000])];
    let world = World::with(vec![
        repository("datasets", "org/tiny", &rows),
        repository("models", "org/gguf", &files),
    ]);
    // A blank in an address is escaped; the hub on loopback doesn't take that back.
    world.hub.answer(|asked, _| {
        asked.path.ends_with("a%20b.gguf").then(|| Answer {
            status: 200,
            body: vec![1; 30_000],
            ..Answer::default()
        })
    });
    let path = world
        .fetch_as("hub:org/tiny", Want::Rows, &mut Noted::default())
        .unwrap();
    assert!(path.join("data/train-0.jsonl").is_file() && !path.join("README.md").exists());
    let path = world.fetch("hub:org/gguf/a b.gguf").unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![1; 30_000]);
    let error = world.fetch("hub:org/gguf").unwrap_err();
    assert!(
        error.contains("2 GGUF files") && error.contains("a b.gguf, c.gguf"),
        "{error}"
    );
}
