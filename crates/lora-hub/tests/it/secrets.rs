//! The token goes to the hub itself, and is shown and kept nowhere.
use crate::{Noted, TOKEN, World};
use lora_hub::{Token, Want};
use lora_testkit::hub::{Answer, HubServer, Repository};
use std::path::Path;

fn has_token(headers: &std::collections::BTreeMap<String, String>) -> bool {
    headers
        .get("authorization")
        .is_some_and(|value| value.contains(TOKEN))
}

#[test]
fn the_token_is_not_sent_on_to_another_host() {
    let world = World::new();
    let tiny = Repository::of("models", "org/tiny", &lora_testkit::tiny_chat());
    let other = HubServer::start(vec![tiny]);
    let to = other.endpoint();
    world.hub.answer(move |asked, _| {
        let file = asked.path.contains("/resolve/");
        file.then(|| Answer::status(302, "").with("Location", format!("{to}{}", asked.path)))
    });
    world.fetch("hub:org/tiny").unwrap();
    let (here, there) = (world.hub.log(), other.log());
    assert_eq!((here.len(), there.len()), (7, 6));
    assert!(here.iter().all(|asked| has_token(&asked.headers)));
    assert!(!there.iter().any(|asked| has_token(&asked.headers)));
}

#[test]
fn a_redirect_on_the_same_host_keeps_it() {
    let world = World::new();
    world.hub.answer(|asked, _| {
        let is_old = asked.path.contains("org/old");
        let to = asked.path.replace("org/old", "org/tiny");
        is_old.then(|| Answer::status(307, "").with("Location", to))
    });
    world.fetch("hub:org/old").unwrap();
    assert!(
        world
            .hub
            .log()
            .iter()
            .all(|asked| has_token(&asked.headers))
    );
}

#[test]
fn no_file_and_no_message_holds_it() {
    let world = World::new();
    let mut noted = Noted::default();
    world
        .fetch_as("hub:org/tiny", Want::Model, &mut noted)
        .unwrap();
    world.hub.answer(|_, _| Some(Answer::status(401, TOKEN)));
    let error = world.fetch("hub:org/tiny").unwrap_err();
    let settings = format!("{:?}", world.settings);
    for text in [error, settings, noted.lines.join("\n")] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    let mut files = 0;
    walk(world.folder.path(), &mut |bytes| {
        files += 1;
        assert!(
            !bytes
                .windows(TOKEN.len())
                .any(|part| part == TOKEN.as_bytes())
        );
    });
    assert!(files > 12, "{files}");
    for bad in ["two words", "a\r\nHost: b", "ümlaut"] {
        let error = Token::new(bad, "HF_TOKEN").unwrap_err().to_string();
        assert!(
            error.contains("HF_TOKEN holds no token") && !error.contains(bad),
            "{error}"
        );
    }
}

fn walk(folder: &Path, each: &mut dyn FnMut(&[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, each),
            false => each(&std::fs::read(path).unwrap()),
        }
    }
}
