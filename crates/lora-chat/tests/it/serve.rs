//! `--serve` through the binary and a bare socket.
use crate::base;
use crate::server::{KEY, Response, Server, command, get, post, question, text};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};

#[test]
fn models_answer_by_name_whole_and_as_a_stream() {
    let server = Server::new(&[]);
    let models = server.get("/v1/models").json();
    let names: Vec<&str> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["base", "adapter_trained"]);
    assert_eq!(server.get("/v1/models/base").json()["id"], "base");
    let of_base = server.ask(json!({})).json();
    let of_adapter = server.ask(json!({"model": "adapter_trained"})).json();
    assert_ne!(text(&of_base), text(&of_adapter));
    assert_eq!(of_adapter["model"], "adapter_trained");
    let usage = &of_base["usage"];
    // user w10 w11 <end> assistant
    assert_eq!(usage["prompt_tokens"], 5);
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(5 + usage["completion_tokens"].as_u64().unwrap())
    );

    let stream = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = server.ask(stream).events();
    let (last, chunks) = events.split_last().unwrap();
    let deltas = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), text(&of_base));
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let end = &chunks.last().unwrap()["choices"][0]["finish_reason"];
    assert_eq!(end, &of_base["choices"][0]["finish_reason"]);
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), usage));
    let bare = server.ask(json!({"stream": true})).events();
    assert!(bare.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn a_request_says_how_it_is_answered() {
    let server = Server::new(&["--temperature", "0.9"]);
    let whole = server.ask(json!({"temperature": 0})).json();
    let word = text(&whole).split(' ').nth(2).unwrap().to_owned();
    let cut = server.ask(json!({"temperature": 0, "stop": word})).json();
    assert_eq!(
        text(&cut).trim_end(),
        text(&whole)[..text(&whole).find(&word).unwrap()].trim_end()
    );
    assert_eq!(cut["choices"][0]["finish_reason"], "stop");
    let short = server
        .ask(json!({"temperature": 0, "max_tokens": 2}))
        .json();
    assert_eq!(
        (
            &short["usage"]["completion_tokens"],
            &short["choices"][0]["finish_reason"]
        ),
        (&json!(2), &json!("length"))
    );

    let drawn = |seed: i64| {
        server
            .ask(json!({"temperature": 2, "seed": seed, "n": 3}))
            .json()["choices"]
            .clone()
    };
    assert_eq!(drawn(3), drawn(3));
    assert_ne!(drawn(3), drawn(4));
    let contents: Vec<Value> = drawn(3)
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["message"]["content"].clone())
        .collect();
    assert_eq!(contents.len(), 3);
    assert_ne!(
        (&contents[0], &contents[1]),
        (&contents[1], &contents[2]),
        "each answer has its own draws"
    );
    let without_seed = || text(&server.ask(json!({"temperature": 2})).json()).to_owned();
    let several: std::collections::BTreeSet<String> = (0..4).map(|_| without_seed()).collect();
    assert!(
        several.len() > 1,
        "a request without a seed is drawn anew: {several:?}"
    );
}

#[test]
fn what_can_not_be_answered_is_refused_in_the_protocols_form() {
    let server = Server::tiny(&["--max-new-tokens", "64"]);
    let ask = |more: Value| server.ask(more);
    assert_eq!(
        ask(json!({"model": "gpt-4"})).refused(404)["code"],
        "model_not_found"
    );
    assert_eq!(
        ask(json!({"logprobs": true})).refused(400)["param"],
        "logprobs"
    );
    assert_eq!(
        ask(json!({"max_tokens": 65})).refused(400)["param"],
        "max_tokens"
    );
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    assert_eq!(ask(json!({"tools": tools})).refused(400)["param"], "tools");
    let call = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null,
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}]);
    assert_eq!(
        ask(json!({"messages": call})).refused(400)["param"],
        "tool_calls"
    );
    let long = json!([{"role": "user", "content": "remind me ".repeat(2000)}]);
    let refusal = ask(json!({"messages": long})).refused(400);
    assert_eq!(refusal["code"], "context_length_exceeded");
    assert!(
        refusal["message"].as_str().unwrap().contains("1024"),
        "{refusal}"
    );
    server.post("{\"model\": ").refused(400);
    server.post(&"x".repeat((1 << 20) + 1)).refused(413);
    server.get("/v1/completions").refused(404);
    server.get("/v1/models/nobody").refused(404);
    let wrong = server.get("/v1/chat/completions");
    wrong.refused(405);
    assert!(wrong.head.contains("allow: post"), "{}", wrong.head);
    let foreign = server
        .raw(b"GET /v1/models HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n");
    foreign.refused(403);
    let answer = ask(json!({"messages": [{"role": "user", "content": "hello"}]})).json();
    assert!(!text(&answer).is_empty());
}

#[test]
fn a_key_is_asked_for_and_an_open_address_needs_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let server = Server::tiny(&["--api-key-file", file.to_str().unwrap()]);
    let body = question(json!({})).to_string();
    for (headers, status) in [
        (String::new(), 401),
        (format!("Authorization: Bearer {KEY}x\r\n"), 401),
        (format!("Authorization: Bearer {KEY}\r\n"), 200),
    ] {
        assert_eq!(
            server.raw(&post(&body, &headers)).status,
            status,
            "{headers}"
        );
    }
    server.get("/v1/models").refused(401);
    assert_eq!(server.health()["status"], "ok");

    let base = lora_testkit::repository("data/tiny-chat");
    let refused = |flags: &[&str], key: Option<&str>| -> Output {
        let mut command = command(&base, &[]);
        command.args(flags);
        command.envs(key.map(|key| ("LORA_CHAT_API_KEY", key)));
        command.output().unwrap()
    };
    let open = Command::new(env!("CARGO_BIN_EXE_lora-chat"))
        .args(["--serve", "0.0.0.0:0", "--base"])
        .arg(&base)
        .env_remove("LORA_CHAT_API_KEY")
        .output()
        .unwrap();
    let short = refused(&[], Some("short"));
    let nowhere = refused(&["--api-key-file", "nowhere"], None);
    for (output, wanted) in [
        (open, "there is no key"),
        (short, "LORA_CHAT_API_KEY"),
        (nowhere, "nowhere"),
    ] {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

/// A request whose answer takes long: the base of words has no end of its own in most answers.
fn long(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    let body = question(
        json!({"stream": true, "max_tokens": 4000, "n": 4, "temperature": 1.5, "stop": "no such text"}),
    );
    stream.write_all(&post(&body.to_string(), "")).unwrap();
    stream
}

#[test]
fn a_closed_connection_ends_its_answer_and_a_full_queue_says_so() {
    let server = slow_server();
    let running = long(&server);
    server.until("one is answered", |health| health["answering"] == 4);
    let waiting = long(&server);
    server.until("one waits", |health| health["waiting"] == 1);
    let full = server.ask(json!({}));
    assert_eq!(full.refused(429)["code"], "rate_limit_exceeded");
    assert!(full.head.contains("retry-after: 1"), "{}", full.head);
    drop(waiting);
    drop(running);
    server.until("both are forgotten", |health| {
        health["cancelled"] == 2 && health["answering"] == 0
    });
    server.ask(json!({})).json();
}

/// A server whose model was made for long texts, so that answers can be long; one request may wait.
fn slow_server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let file = base.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["max_position_embeddings"] = json!(1 << 16);
    std::fs::write(&file, config.to_string()).unwrap();
    let flags = ["--max-new-tokens", "4000", "--max-waiting", "1"];
    Server::start(command(&base, &flags), dir)
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_server_and_says_so_to_those_who_wait() {
    let mut server = slow_server();
    let mut running = long(&server);
    server.until("one is answered", |health| health["answering"] == 4);
    let asked = Command::new("kill")
        .args(["-INT", &server.child.id().to_string()])
        .status();
    assert!(asked.unwrap().success());
    let mut said = String::new();
    let _ = running.read_to_string(&mut said);
    assert!(said.contains("the server is stopping"), "{said}");
    assert_eq!(server.child.wait().unwrap().code(), Some(130));
}

#[test]
fn twenty_at_once_are_answered_as_if_alone() {
    let server = Server::new(&[]);
    let ask = |n: usize| {
        let content = format!("w{} w{}", 10 + n, 20 + n % 7);
        let model = if n.is_multiple_of(3) {
            "adapter_trained"
        } else {
            "base"
        };
        let chance = if n.is_multiple_of(2) { 0.0 } else { 1.0 };
        let messages = json!([{"role": "user", "content": content}]);
        let answer = server
            .ask(json!({"model": model, "messages": messages, "temperature": chance, "seed": n}));
        text(&answer.json()).to_owned()
    };
    let alone: Vec<String> = (0..20).map(ask).collect();
    let together: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..20).map(|n| scope.spawn(move || ask(n))).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert_eq!(server.health()["answered"], 40);
}

#[test]
fn two_hundred_hostile_requests_leave_it_whole() {
    let server = Server::tiny(&["--max-new-tokens", "8"]);
    let good = question(json!({})).to_string();
    // Those that are whole requests are told what is wrong; of the others the connection may just end.
    let broken: [&dyn Fn(usize) -> Vec<u8>; 5] = [
        &|_| get("/v1/models", &format!("X: {}\r\n", "y".repeat(100_000))),
        &|_| b"\0\0\0\0".to_vec(),
        &|_| b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        &|n| post(&good, "")[..40 + n].to_vec(),
        &|n| {
            let mut request = post(&good, "");
            request.truncate(request.len() - n - 1);
            request
        },
    ];
    let whole: [&dyn Fn(usize) -> Vec<u8>; 5] = [
        &|n| post(&good[..n % good.len()], ""),
        &|n| post(&"[".repeat(1000 * (n + 1)), ""),
        &|_| post("", "Content-Length: -1\r\n"),
        &|n| get(&format!("/{}", "%00../".repeat(n)), ""),
        &|n| {
            post(
                &question(json!({"stop": vec!["a"; n + 17], "n": n + 17})).to_string(),
                "",
            )
        },
    ];
    let told = |bytes: &[u8], is_whole: bool| {
        let mut stream = server.connect();
        let _ = stream.write_all(bytes);
        if !is_whole {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let status = Response::of(&answer).status;
        let is_fine = (400..500).contains(&status) || (status == 0 && !is_whole);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
        assert!(is_fine, "{status}: {start}");
    };
    for n in 0..20 {
        broken.iter().for_each(|kind| told(&kind(n), false));
        whole.iter().for_each(|kind| told(&kind(n), true));
    }
    assert_eq!(server.health()["answering"], 0);
    server
        .ask(json!({"messages": [{"role": "user", "content": "hello"}]}))
        .json();
}
