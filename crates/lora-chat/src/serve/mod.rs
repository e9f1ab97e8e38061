//! OpenAI's chat-completions protocol: one thread talks HTTP and reads requests, the main thread generates.
//!
//! `http` has the connections and paths, `body` what is read and written of a message, `patience` the time a reader has;
//! `request` is what a request says, checked against `fields`, `chat` its messages; `prepare` makes a job of it; `queue` holds
//! those that wait, `batch` answers those that go together; `reply` is how answers are written, `refusal` how a no is; `key`
//! is who may ask. Generation has no way to take in a request midway: a batch is made of what waits and runs to its end.
mod batch;
mod body;
mod chat;
mod fields;
mod http;
mod key;
mod patience;
mod prepare;
mod queue;
mod refusal;
mod reply;
mod request;

use crate::Args;
use crate::answer::{Speaker, sampling};
use crate::voices::Voice;
pub(crate) use chat::messages;
use key::Key;
use lora_cli::{Context as _, Error, Foreign as _, Result};
use prepare::House;
use queue::Queue;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// How often the main thread looks whether it is asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long a reader waits for work: a thread that ends might not be had again.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long those who are told that the server stops have to hear it.
const FAREWELL: Duration = Duration::from_millis(200);

/// Where requests come in, and who may come.
pub(crate) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    key: Option<Key>,
}

/// Opens the address, before any model is read. One that others can reach needs a key.
pub(crate) fn open(at: SocketAddr, args: &Args) -> Result<Door> {
    let key = key::load(args.api_key_file.as_deref())?;
    if key.is_none() && !at.ip().is_loopback() {
        return Err(Error::new(format!(
            "{at} can be reached from other machines, and there is no key"
        ))
        .hint(format!(
            "give one with --api-key-file FILE or in {}, or serve 127.0.0.1:{}",
            key::VARIABLE,
            at.port()
        )));
    }
    let bound = || -> std::io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) = bound()
        .foreign()
        .map_err(|error| error.hint("choose another port; 0 takes a free one"))
        .context(|| format!("can't serve {at}"))?;
    Ok(Door {
        listener,
        address,
        key,
    })
}

/// Has all readers of requests run once: where the system gives no thread for one, that is said now and not to a client.
fn start_readers(runtime: &tokio::runtime::Runtime) {
    let all_run = Arc::new(Barrier::new(prepare::READERS + 1));
    for _ in 0..prepare::READERS {
        let all_run = all_run.clone();
        runtime.spawn_blocking(move || all_run.wait());
    }
    all_run.wait();
}

/// Serves until it is asked to stop.
pub(crate) fn serve(door: Door, speaker: &mut Speaker<'_>, voices: Arc<Vec<Voice>>) -> Result<()> {
    let ui = speaker.ui;
    let args = speaker.args;
    let queue = Arc::new(Queue::new(args.max_waiting));
    let house = Arc::new(House {
        voices,
        queue: queue.clone(),
        key: door.key,
        is_private: door.address.ip().is_loopback(),
        sampling: sampling(args),
        seed: args.sampling.seed,
        stop: args.sampling.stop.clone(),
        most: args.max_new_tokens,
        context: speaker.context,
        asked: Default::default(),
    });
    let names: Vec<String> = house.voices.iter().map(|v| v.name.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(prepare::READERS)
        .thread_keep_alive(FOR_EVER)
        .build()
        .foreign()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(door.listener).foreign()?
    };
    start_readers(&runtime);
    lora_cli::thread("serving", move || {
        runtime.block_on(http::listen(listener, house));
    })?;
    ui.text(&format!("http://{}/v1\n", door.address));
    ui.say(&format!(
        "serving {} (for trying and comparing, not for production); Ctrl-C ends it",
        names.join(", ")
    ));
    while ui.interrupted_by().is_none() {
        let jobs = queue.take(LOOK);
        if !jobs.is_empty() {
            batch::answer(speaker, &jobs, &queue);
        }
    }
    queue.close();
    std::thread::sleep(FAREWELL);
    ui.check_interrupt()
}
