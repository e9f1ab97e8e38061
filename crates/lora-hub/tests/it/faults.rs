//! What the user reads for each fault of the hub or of the way to it.
use crate::{Noted, World};
use lora_hub::Want;
use lora_testkit::hub::{Answer, Asked};
use std::fs;

/// A fault: its name, what is answered, and what the user reads (nothing if it is fetched all the same).
struct Case {
    name: &'static str,
    answer: fn(&Asked, &Answer) -> Option<Answer>,
    said: &'static str,
}

fn is_list(asked: &Asked) -> bool {
    asked.path.starts_with("/api/")
}

fn is_weights(asked: &Asked) -> bool {
    asked.path.ends_with("model.safetensors")
}

const CASES: [Case; 17] = [
    Case {
        name: "401",
        answer: |_, _| Some(Answer::status(401, "")),
        said: "hub:org/tiny: 127.0.0.1 does not take the token (401 Unauthorized)",
    },
    Case {
        name: "403",
        answer: |asked, _| {
            is_weights(asked).then(|| Answer::status(403, "").with("X-Error-Code", "GatedRepo"))
        },
        said: "hub:org/tiny: 127.0.0.1 lets only those in who have accepted its terms (403 Forbidden)",
    },
    Case {
        name: "404",
        answer: |_, _| Some(Answer::status(404, "<html>").with("X-Error-Code", "RepoNotFound")),
        said: "127.0.0.1 has no model hub:org/tiny, or none with the revision main (404 Not Found)",
    },
    Case {
        name: "404 of a revision",
        answer: |_, _| Some(Answer::status(404, "").with("X-Error-Code", "RevisionNotFound")),
        said: "hub:org/tiny has no revision main",
    },
    Case {
        name: "429 once",
        answer: |asked, _| {
            (asked.before == 0).then(|| Answer::status(429, "").with("Retry-After", "0"))
        },
        said: "",
    },
    Case {
        name: "429 for ever",
        answer: |_, _| Some(Answer::status(429, "").with("Retry-After", "0")),
        said: "the hub wants fewer requests (429), and a pause of 0 s",
    },
    Case {
        name: "429 for long",
        answer: |_, _| Some(Answer::status(429, "").with("Retry-After", "3600")),
        said: "the hub wants fewer requests (429), and a pause of 3600 s",
    },
    Case {
        name: "500 once",
        answer: |asked, _| (asked.before == 0).then(|| Answer::status(500, "oops")),
        said: "",
    },
    Case {
        name: "500 for ever",
        answer: |_, _| Some(Answer::status(500, "oops")),
        said: "hub:org/tiny: 127.0.0.1: 500 Internal Server Error",
    },
    Case {
        name: "418",
        answer: |_, _| Some(Answer::status(418, "")),
        said: "hub:org/tiny: 127.0.0.1 answers 418 I'm a teapot",
    },
    Case {
        name: "broken off, each time a little further",
        answer: |asked, truth| is_weights(asked).then(|| cut(truth, 400_000)),
        said: "",
    },
    Case {
        name: "broken off at once, for ever",
        answer: |asked, truth| is_weights(asked).then(|| cut(truth, 0)),
        said: "model.safetensors broke off after 0 of 1855192 bytes",
    },
    Case {
        name: "the range is ignored",
        answer: |asked, truth| match asked.before {
            0 if is_weights(asked) => Some(cut(truth, 900_000)),
            1 if is_weights(asked) => Some(whole()),
            _ => None,
        },
        said: "",
    },
    Case {
        name: "nothing is said after the head",
        answer: |asked, _| (is_list(asked) && asked.before == 0).then(Answer::default),
        said: "",
    },
    Case {
        name: "announces more",
        answer: |asked, truth| is_weights(asked).then(|| with_length(truth, 9_999_999)),
        said: "model.safetensors has 1855192 bytes by the hub's list, and it announces 9999999",
    },
    Case {
        name: "announces less",
        answer: |asked, truth| is_weights(asked).then(|| with_length(truth, 10)),
        said: "model.safetensors has 1855192 bytes by the hub's list, and it announces 10",
    },
    Case {
        name: "other bytes of the same length",
        answer: |asked, truth| is_weights(asked).then(|| other(truth)),
        said: "what arrives as model.safetensors has the hash ",
    },
];

fn cut(truth: &Answer, bytes: usize) -> Answer {
    let mut answer = truth.clone();
    answer.length = Some(truth.body.len() as u64);
    answer.body.truncate(bytes);
    answer
}

fn with_length(truth: &Answer, bytes: u64) -> Answer {
    Answer {
        length: Some(bytes),
        ..truth.clone()
    }
}

fn other(truth: &Answer) -> Answer {
    let mut answer = truth.clone();
    answer.body[1000] ^= 1;
    answer
}

fn whole() -> Answer {
    Answer {
        status: 200,
        body: fs::read(lora_testkit::tiny_chat().join("model.safetensors")).unwrap(),
        ..Answer::default()
    }
}

#[test]
fn each_fault_is_mended_or_said_in_one_line_with_a_hint() {
    for case in CASES {
        let world = World::new();
        world.hub.answer(case.answer);
        let fetched = world.fetch_as("hub:org/tiny", Want::Model, &mut Noted::default());
        let weights = lora_testkit::tiny_chat().join("model.safetensors");
        match fetched {
            Ok(path) => {
                assert_eq!(case.said, "", "{}: it was fetched", case.name);
                assert!(
                    fs::read(path.join("model.safetensors")).unwrap() == fs::read(weights).unwrap()
                );
            }
            Err(error) => {
                let (message, hint) = error.split_once("\nhint: ").unwrap();
                assert!(
                    !case.said.is_empty() && message.contains(case.said),
                    "{}: {error}",
                    case.name
                );
                assert!(
                    !message.contains('\n') && !hint.is_empty(),
                    "{}: {error}",
                    case.name
                );
                let snapshot = world.settings.cache.join("models--org--tiny/snapshots");
                let weights = snapshot
                    .join(lora_testkit::hub::COMMIT)
                    .join("model.safetensors");
                assert!(
                    !weights.exists(),
                    "{}: what is not whole has a name",
                    case.name
                );
            }
        }
    }
}

#[test]
fn what_broke_off_is_not_fetched_twice() {
    let world = World::new();
    world
        .hub
        .answer(|asked, truth| is_weights(asked).then(|| cut(truth, 400_000)));
    world.fetch("hub:org/tiny").unwrap();
    let log = world.hub.log();
    let ranges: Vec<&str> = log
        .iter()
        .filter(|asked| is_weights(asked))
        .map(|asked| asked.headers.get("range").map_or("", String::as_str))
        .collect();
    assert_eq!(
        ranges,
        [
            "",
            "bytes=400000-",
            "bytes=800000-",
            "bytes=1200000-",
            "bytes=1600000-"
        ]
    );
}
