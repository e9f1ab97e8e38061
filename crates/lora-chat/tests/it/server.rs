//! A server of the tool, and what it is asked and answers, byte by byte.
use crate::{adapter, base};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const KEY: &str = "0123456789abcdef-key";

/// A server on a free port, ended with the test.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn command(base: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lora-chat"));
    command
        .args([
            "--threads",
            "1",
            "--device",
            "cpu",
            "--serve",
            "127.0.0.1:0",
            "--base",
        ])
        .arg(base)
        .args(flags)
        .env_remove("LORA_CHAT_API_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Server {
    /// The base of words and its adapter.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = base(dir.path());
        let adapter = adapter();
        let flags: Vec<&str> = ["--adapter", &adapter]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        Self::start(command(&base, &flags), dir)
    }

    /// The embedded chat model.
    pub(crate) fn tiny(flags: &[&str]) -> Self {
        let base = lora_testkit::repository("data/tiny-chat");
        Self::start(command(&base, flags), tempfile::tempdir().unwrap())
    }

    pub(crate) fn start(mut command: Command, dir: tempfile::TempDir) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|url| url.strip_suffix("/v1"));
        let Some(address) = address.map(str::to_owned) else {
            let output = child.wait_with_output().unwrap();
            panic!("{line}{}", String::from_utf8_lossy(&output.stderr));
        };
        Self {
            child,
            address,
            _dir: dir,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends bytes and reads all that comes back.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Response {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes); // a server may answer before it has read all
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Response::of(&answer)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.raw(&get(path, ""))
    }

    pub(crate) fn post(&self, body: &str) -> Response {
        self.raw(&post(body, ""))
    }

    pub(crate) fn ask(&self, more: Value) -> Response {
        self.post(&question(more).to_string())
    }

    pub(crate) fn health(&self) -> Value {
        self.get("/health").json()
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        while !is_so(&self.health()) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{what}: {}",
                self.health()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub(crate) fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
        .into_bytes()
}

pub(crate) fn post(body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A question to the base of words, and what else the request says.
pub(crate) fn question(more: Value) -> Value {
    let mut body = json!({"model": "base", "messages": [{"role": "user", "content": "w10 w11"}], "max_tokens": 6});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let head = head.to_lowercase();
        let is_chunked = head.contains("transfer-encoding: chunked");
        Self {
            status: status.unwrap_or(0),
            body: if is_chunked {
                joined(body)
            } else {
                body.to_owned()
            },
            head,
        }
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert!(
            body["error"]["message"].is_string() && body["error"]["type"].is_string(),
            "{body}"
        );
        body["error"].clone()
    }

    /// The events of a stream, without its end.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        assert!(self.head.contains("text/event-stream"), "{}", self.head);
        let mut events: Vec<&str> = self
            .body
            .split("\n\n")
            .filter(|event| !event.is_empty())
            .collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.body);
        let read =
            |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        events.into_iter().map(read).collect()
    }
}

/// A chunked body as one.
pub(crate) fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        body = &rest[size + 2..];
    }
    whole
}

pub(crate) fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}
