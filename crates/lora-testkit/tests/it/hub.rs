//! Names on the hub in place of paths, as a user gives them to the tools.
use crate::assert_snapshot;
use crate::session::{Session, tool};
use lora_testkit::hub::{Answer, COMMIT, HubServer, Repository};
use lora_testkit::{json, tiny_chat};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// It must stand in no file and in no line.
const TOKEN: &str = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz";

const PIPELINE: &str = "\
version: 1
params: { base: hub:org/tiny, raw: hub:org/rows/rows.jsonl }
steps:
  prep: { use: lora-prep, in: { raw: $raw, base: $base }, with: { valid: 0.2, seed: 7 } }
  train: { use: lora-train, in: { base: $base, data: $prep }, with: { rank: 2, steps: 2, threads: 1, seed: 7 } }
  eval: { use: lora-eval, in: { base: $base, data: $prep, adapter: $train }, with: { threads: 1 } }
  line: { run: 'echo \"$IN_BASE\" > \"$OUT/base\"', in: { base: $base } }
";

/// A folder whose hub is on loopback, with a model and rows.
fn world() -> (Session, HubServer) {
    let mut session = Session::new();
    let rows = std::fs::read(session.path("rows.jsonl")).unwrap();
    let hub = HubServer::start(vec![
        Repository::of("models", "org/tiny", &tiny_chat()),
        Repository {
            kind: "datasets",
            id: "org/rows".to_owned(),
            files: [("rows.jsonl".to_owned(), rows)].into(),
        },
    ]);
    session.set("HF_HOME", session.path("home").display().to_string());
    session.set(
        "XDG_CACHE_HOME",
        session.path("caches").display().to_string(),
    );
    session.set("HF_TOKEN", TOKEN);
    session.set("HF_ENDPOINT", hub.endpoint());
    for name in [
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    ] {
        session.set(name, "");
    }
    (session, hub)
}

/// The last receipt, the lock and the notes of a run that went well.
fn steps(session: &mut Session, line: &str) -> Vec<String> {
    let before = session.said().len();
    session.run(line);
    let said = &session.said()[before..];
    assert!(!said.contains("[exit "), "{said}");
    let told = said
        .lines()
        .filter(|line| line.ends_with(": skipped") || line.contains(": running ("));
    told.map(|line| line.split([' ', '(']).take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn a_pipeline_on_names_of_the_hub() {
    let (mut session, hub) = world();
    session.write("p.yaml", PIPELINE);
    session.run("lora-run p.yaml --dry-run");
    assert_eq!(hub.log().len(), 0, "a dry run asks nobody");
    assert!(!session.path("home").exists() && !session.path("work").exists());
    let all = |what: &str| ["prep", "train", "eval", "line"].map(|step| format!("{step}: {what}"));
    assert_eq!(steps(&mut session, "lora-run p.yaml"), all("running"));
    let fetched = hub
        .log()
        .iter()
        .filter(|asked| asked.path.contains("/resolve/"))
        .count();
    assert_eq!(fetched, 7, "six files of the model, one of rows");
    assert!(
        hub.log()
            .iter()
            .all(|asked| asked.headers.contains_key("authorization"))
    );
    assert_eq!(steps(&mut session, "lora-run p.yaml"), all("skipped"));

    let pinned = format!("hub:org/tiny@{COMMIT}");
    let receipt = json(&session.path("work/p/train/receipt.json"));
    let base = &receipt["inputs"][0];
    assert_eq!(
        (base["name"].as_str(), base["hub"].as_str()),
        (Some("base"), Some(&pinned[..]))
    );
    let config = json(&session.path("work/p/train/adapter_config.json"));
    assert_eq!(config["base_model_name_or_path"], "org/tiny");
    let line = std::fs::read_to_string(session.path("work/p/line/base")).unwrap();
    assert_eq!(line.trim(), pinned);
    let key = json(&session.path("work/p/train.step.json"));
    assert_eq!(key["definition"]["inputs"]["base"][0], pinned);

    // Without the hub: told to ask nobody, and with nobody there.
    session.set("HF_HUB_OFFLINE", "1");
    let asked = hub.log().len();
    assert_eq!(steps(&mut session, "lora-run p.yaml"), all("skipped"));
    assert_eq!(
        steps(&mut session, "lora-run p.yaml --force train")[..2],
        ["prep: skipped", "train: running"]
    );
    assert_eq!(hub.log().len(), asked);
    session.set("HF_HUB_OFFLINE", "");
    drop(hub);
    assert_eq!(steps(&mut session, "lora-run p.yaml"), all("skipped"));
    session.run("lora-run p.yaml --check");
    // A path inside the cache is as good as the name.
    let snapshot = format!("home/hub/models--org--tiny/snapshots/{COMMIT}");
    session.run(&format!("lora-eval --base {snapshot} --data work/p/prep --adapter work/p/train --out again --threads 1"));
    assert!(!session.said().contains("[exit ") && !session.said().contains(TOKEN));
    holds_no_token(&session.path(""));
}

fn holds_no_token(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds_no_token(&path);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let is_there = bytes
                .windows(TOKEN.len())
                .any(|part| part == TOKEN.as_bytes());
            assert!(!is_there, "{}", path.display());
        }
    }
}

#[test]
fn what_a_user_reads_when_the_hub_has_nothing() {
    let (mut session, hub) = world();
    let mut ask = |name: &str, answer: Option<Answer>| {
        hub.answer(move |_, _| answer.clone());
        session.run(&format!("lora-plan params --model {name} --rank 8"));
    };
    ask("hub:org/tiny/../x", None);
    ask("hub:tiny", None);
    ask("hub:org/none", None);
    ask("hub:org/tiny@v9", None);
    ask("hub:org/tiny/m.gguf", None);
    ask("hub:org/tiny", Some(Answer::status(401, "")));
    ask("hub:org/tiny", Some(Answer::status(403, "")));
    ask(
        "hub:org/tiny",
        Some(Answer::status(429, "").with("Retry-After", "900")),
    );
    ask(
        "hub:org/tiny",
        Some(Answer::status(200, "<html>Log in</html>")),
    );
    hub.answer(|_, _| None);
    session.run("lora-plan explain --model hub:org/tiny --trainable 77824 --quiet");
    session.set("HF_HUB_OFFLINE", "1");
    session.run("lora-train --base hub:org/tiny --data hub:org/rows --out adapter");
    session.run("lora-prep hub:org/rows --base model --out data");
    assert!(!session.said().contains(TOKEN));
    assert_snapshot("the-hub", &session.transcript());
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_can_be_continued() {
    let (session, hub) = world();
    hub.answer(|asked, truth| {
        asked.path.ends_with("model.safetensors").then(|| Answer {
            length: Some(truth.body.len() as u64),
            body: match asked.before {
                0 => truth.body[..500_000].to_vec(),
                _ => Vec::new(),
            },
            ..truth.clone()
        })
    });
    let mut command = Command::new(tool("lora-export"));
    command
        .args(["--model", "hub:org/tiny", "--out", "m.gguf"])
        .current_dir(session.path(""))
        .envs(session.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let began = Instant::now();
    while hub
        .log()
        .iter()
        .filter(|asked| asked.path.ends_with("model.safetensors"))
        .count()
        < 2
    {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", hub.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let repository = session.path("home/hub/models--org--tiny");
    assert!(
        !repository
            .join("snapshots")
            .join(COMMIT)
            .join("model.safetensors")
            .exists()
    );
    let blobs = std::fs::read_dir(repository.join("blobs")).unwrap();
    let partial =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().ends_with(".incomplete");
    let partial = blobs.flatten().find(partial).unwrap();
    assert_eq!(partial.metadata().unwrap().len(), 500_000);
    assert!(!session.path("m.gguf").exists());
}
