//! Answers that no honest hub gives: nothing is written outside the cache, and nothing goes on for ever.
use crate::World;
use lora_testkit::hub::{Answer, COMMIT};
use serde_json::json;

#[test]
fn a_hostile_answer_is_refused_in_one_line_with_a_hint() {
    let etag = "a".repeat(64);
    let listed = |file: &str, etag: &str, commit: &str| {
        let sibling = json!({"rfilename": file, "size": 9, "blobId": etag});
        json!({"sha": commit, "siblings": [sibling]}).to_string()
    };
    let cases = [
        (
            listed("../x/config.json", &etag, COMMIT),
            "a file outside of the repository: \"../x/config.json\"",
        ),
        (
            listed("/etc/config.json", &etag, COMMIT),
            "a file outside of the repository",
        ),
        (
            listed("a\\..\\config.json", &etag, COMMIT),
            "a file outside of the repository",
        ),
        (
            listed("a\u{0}b", &etag, COMMIT),
            "a file outside of the repository",
        ),
        (
            listed("C:config.json", &etag, COMMIT),
            "a file outside of the repository",
        ),
        (
            listed("config.json", "../../x", COMMIT),
            "a hash that is none: \"../../x\"",
        ),
        (
            listed("config.json", &etag, "../../../x"),
            "a commit that is none",
        ),
        (
            json!({"sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}).to_string(),
            "no size and hash of \"config.json\"",
        ),
        (
            "<!doctype html><title>Log in</title>".to_owned(),
            "a page, not a list of files",
        ),
        ("{\"sha\": 1".to_owned(), "no list of files"),
        (String::new(), "no list of files"),
        ("[".repeat(100_000), "no list of files"),
    ];
    for (body, said) in cases {
        let world = World::new();
        world
            .hub
            .answer(move |_, _| Some(Answer::status(200, &body)));
        let error = world.fetch("hub:org/tiny").unwrap_err();
        let (message, hint) = error.split_once("\nhint: ").unwrap();
        assert!(
            message.contains(said) && !message.contains(['\n', '\0']),
            "{error}"
        );
        assert!(!hint.is_empty());
        assert!(!world.settings.cache.exists(), "{error}");
    }
}

#[test]
fn what_has_no_end_is_ended() {
    let world = World::new();
    world.hub.answer(|asked, _| {
        Some(Answer::status(302, "").with("Location", format!("{}&again", asked.path)))
    });
    assert!(
        world
            .fetch("hub:org/tiny")
            .unwrap_err()
            .contains("redirects without end")
    );
    world.hub.answer(|asked, _| {
        asked.path.starts_with("/api/").then(|| Answer {
            is_endless: true,
            ..Answer::status(200, &" ".repeat(1 << 20))
        })
    });
    assert!(
        world
            .fetch("hub:org/tiny")
            .unwrap_err()
            .contains("a list without end")
    );
    world.hub.answer(|asked, truth| {
        asked.path.ends_with("model.safetensors").then(|| Answer {
            is_endless: true,
            ..truth.clone()
        })
    });
    let error = world.fetch("hub:org/tiny").unwrap_err();
    assert!(
        error.contains("has 1855192 bytes by the hub's list, and it sends more"),
        "{error}"
    );
    assert_eq!(world.finished(), 5);
}

#[test]
fn a_pickle_is_never_asked_for() {
    let world = World::new();
    let error = world.fetch("hub:org/tiny/pytorch_model.bin").unwrap_err();
    assert!(error.contains("holds no such file"), "{error}");
    assert_eq!(world.hub.log().len(), 1);
}
