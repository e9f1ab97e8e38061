//! A hub on loopback: it lists and sends the files of a few repositories, notes who asked for what, and answers wrongly where
//! a test wants it to.
use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The commit of every repository.
pub const COMMIT: &str = "5f0b02c75b57c5855da9ae460ce51323ea669d8a";

/// A repository at [`COMMIT`], which is its branch `main`.
#[derive(Debug, Clone)]
pub struct Repository {
    /// `models` or `datasets`.
    pub kind: &'static str,
    /// `OWNER/NAME`.
    pub id: String,
    /// By their way in it.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Repository {
    /// With the files of a folder.
    ///
    /// # Panics
    /// When it can't be read.
    pub fn of(kind: &'static str, id: &str, folder: &Path) -> Self {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.path().is_file());
        let read = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        };
        Self {
            kind,
            id: id.to_owned(),
            files: files.map(read).collect(),
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// With its query.
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    /// How often this path was asked for before.
    pub before: usize,
}

/// What is sent.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// 200, say.
    pub status: u16,
    /// Beside the length and the end of the connection.
    pub headers: Vec<(String, String)>,
    /// The bytes that are sent.
    pub body: Vec<u8>,
    /// The length that is announced, if it is not the body's.
    pub length: Option<u64>,
    /// The body is sent over and over, and no length is announced.
    pub is_endless: bool,
}

impl Answer {
    /// A status with a text.
    pub fn status(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.as_bytes().to_vec(),
            ..Self::default()
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What a test wants answered in place of the truth: it gets the request and the true answer.
pub type Fault = Box<dyn Fn(&Asked, &Answer) -> Option<Answer> + Send>;

/// A running hub; it ends when it is dropped.
pub struct HubServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    repositories: Vec<Repository>,
    fault: Mutex<Fault>,
    log: Mutex<Vec<Asked>>,
    ends: AtomicBool,
}

impl HubServer {
    /// Serves repositories on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn start(repositories: Vec<Repository>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            repositories,
            fault: Mutex::new(Box::new(|_, _| None)),
            log: Mutex::default(),
            ends: AtomicBool::new(false),
        });
        let own = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.ends.load(Ordering::SeqCst) {
                    break;
                }
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// For HF_ENDPOINT.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on some requests are answered otherwise.
    ///
    /// # Panics
    /// When an earlier fault has panicked.
    pub fn answer(&self, fault: impl Fn(&Asked, &Answer) -> Option<Answer> + Send + 'static) {
        *self.shared.fault.lock().unwrap() = Box::new(fault);
    }

    /// All that was asked for up to now.
    ///
    /// # Panics
    /// When a request has panicked.
    pub fn log(&self) -> Vec<Asked> {
        self.shared.log.lock().unwrap().clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // it waits for one more
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let Some((path, headers)) = read(&stream) else {
            return;
        };
        let asked = {
            let mut log = self.log.lock().unwrap();
            let before = log.iter().filter(|asked| asked.path == path).count();
            let asked = Asked {
                path,
                headers,
                before,
            };
            log.push(asked.clone());
            asked
        };
        let truth = self.truth(&asked);
        let fault = (self.fault.lock().unwrap())(&asked, &truth);
        let _ = send(&mut stream, &fault.unwrap_or(truth)); // whoever asked may have gone
    }

    fn truth(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap_or_default();
        for repository in &self.repositories {
            let (kind, id) = (repository.kind, &repository.id);
            let prefix = if kind == "models" { "" } else { "datasets/" };
            if let Some(revision) = path.strip_prefix(&format!("/api/{kind}/{id}/revision/")) {
                return match [COMMIT, "main"].contains(&revision) {
                    true => listing(repository),
                    false => missing("RevisionNotFound"),
                };
            }
            if let Some(file) = path.strip_prefix(&format!("/{prefix}{id}/resolve/{COMMIT}/")) {
                return match repository.files.get(file) {
                    Some(bytes) => part(bytes, asked.headers.get("range")),
                    None => missing("EntryNotFound"),
                };
            }
        }
        missing("RepoNotFound")
    }
}

fn missing(code: &str) -> Answer {
    Answer::status(404, "").with("X-Error-Code", code)
}

fn listing(repository: &Repository) -> Answer {
    let siblings = repository.files.iter().map(|(name, bytes)| {
        let git = hex(&Sha1::digest([format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat()));
        let mut sibling = json!({"rfilename": name, "size": bytes.len(), "blobId": git});
        if bytes.len() > 20_000 {
            sibling["lfs"] = json!({"sha256": hex(&Sha256::digest(bytes)), "size": bytes.len(), "pointerSize": 132});
        }
        sibling
    });
    let siblings: Vec<_> = siblings.collect();
    let text = json!({"id": repository.id, "sha": COMMIT, "siblings": siblings}).to_string();
    Answer::status(200, &text).with("Content-Type", "application/json")
}

fn part(bytes: &[u8], range: Option<&String>) -> Answer {
    let from = range.and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let whole = Answer {
        status: 200,
        body: bytes.to_vec(),
        ..Answer::default()
    };
    match from {
        None => whole,
        Some(from) if from >= bytes.len() => Answer::status(416, ""),
        Some(from) => Answer {
            status: 206,
            body: bytes[from..].to_vec(),
            ..Answer::default()
        }
        .with(
            "Content-Range",
            format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
    }
}

/// The path and the headers of a request.
fn read(stream: &TcpStream) -> Option<(String, BTreeMap<String, String>)> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.take_while(|line| !line.is_empty());
    let pair = |line: String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    Some((path, headers.filter_map(pair).collect()))
}

fn send(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Told\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !answer.is_endless {
        let length = answer.length.unwrap_or(answer.body.len() as u64);
        let _ = write!(head, "Content-Length: {length}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&answer.body)?;
    if answer.is_endless {
        loop {
            stream.write_all(&answer.body)?;
        }
    }
    stream.flush()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
