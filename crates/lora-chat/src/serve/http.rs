//! Connections and paths.
use super::body::{self, Waiter, Written};
use super::patience::Patient;
use super::prepare::House;
use super::queue::Part;
use super::refusal::Refusal;
use super::reply::{Chunks, Form, now};
use super::request::Request;
use crate::growing::Answer;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;

/// Connections at once; others wait in the system's own queue.
const MOST_CONNECTIONS: usize = 256;

/// How long a request's head may take to come, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);

/// Largest head of a request.
const MOST_HEAD: usize = 32 << 10;

/// How long to wait where the system gives no connection (too many open files).
const BREATH: Duration = Duration::from_millis(100);

/// Takes connections for ever.
pub(crate) async fn listen(listener: TcpListener, house: Arc<House>) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let _ = stream.set_nodelay(true); // tokens go out as they come
        let house = house.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, house.clone()));
            let io = TokioIo::new(Patient::new(stream));
            // A connection that breaks is its client's affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(MOST_HEAD)
                .serve_connection(io, service)
                .await;
            drop(slot);
        });
    }
}

type Asked = hyper::Request<Incoming>;

async fn answer(request: Asked, house: Arc<House>) -> Result<Response<Written>, Infallible> {
    let answered = routed(request, &house).await;
    Ok(answered.unwrap_or_else(|refusal| {
        let mut response = json_response(&refusal.json());
        *response.status_mut() = refusal.status;
        if let Some((name, value)) = refusal.header {
            let value = hyper::header::HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }))
}

async fn routed(request: Asked, house: &Arc<House>) -> Result<Response<Written>, Refusal> {
    check_host(&request, house)?;
    let path = request.uri().path().to_owned();
    let wanted = match path.as_str() {
        "/health" | "/v1/models" => Method::GET,
        "/v1/chat/completions" => Method::POST,
        model if model.starts_with("/v1/models/") => Method::GET,
        _ => {
            let paths = "POST /v1/chat/completions, GET /v1/models and GET /health";
            let message = format!("there is nothing at this path: there are {paths}");
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
    };
    if path == "/health" && request.method() == wanted {
        return Ok(json_response(&health(house)));
    }
    check_key(&request, house)?;
    if request.method() != wanted {
        let allowed = if wanted == Method::GET { "GET" } else { "POST" };
        let message = format!("this path takes {allowed} alone");
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message);
        return Err(refusal.header("allow", allowed));
    }
    match path.strip_prefix("/v1/models") {
        Some("") => Ok(json_response(&models(house))),
        Some(name) => model(house, &name[1..]),
        None => complete(request.into_body(), house).await,
    }
}

/// A page of the network that had its name point to this machine asks by that name: it is told nothing.
fn check_host(request: &Asked, house: &House) -> Result<(), Refusal> {
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        let is_port = port.bytes().all(|digit| digit.is_ascii_digit());
        if is_port { name } else { host }
    });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let is_own = bare.is_empty() || bare == "localhost" || bare.parse::<IpAddr>().is_ok();
    match is_own || !house.is_private || house.key.is_some() {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "ask by this machine's address: 127.0.0.1 or localhost",
        )),
    }
}

fn check_key(request: &Asked, house: &House) -> Result<(), Refusal> {
    let given = request.headers().get(AUTHORIZATION);
    let given = given.map(|value| value.as_bytes());
    match &house.key {
        Some(key) if !key.opens(given) => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this server wants its key: Authorization: Bearer KEY",
        )
        .code("invalid_api_key")
        .header("www-authenticate", "Bearer")),
        _ => Ok(()),
    }
}

fn health(house: &House) -> Value {
    let queue = &house.queue;
    json!({
        "status": "ok",
        "waiting": queue.waiting(),
        "answering": queue.answering.load(Ordering::Relaxed),
        "answered": queue.answered.load(Ordering::Relaxed),
        "cancelled": queue.cancelled.load(Ordering::Relaxed),
    })
}

fn described(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "lora-chat"})
}

fn models(house: &House) -> Value {
    let all = house.voices.iter().map(|voice| described(&voice.name));
    json!({"object": "list", "data": all.collect::<Vec<_>>()})
}

fn model(house: &House, name: &str) -> Result<Response<Written>, Refusal> {
    let found = house.voices.iter().find(|voice| voice.name == name);
    let found = found.ok_or_else(|| house.unknown(name))?;
    Ok(json_response(&described(&found.name)))
}

/// `POST /v1/chat/completions`.
async fn complete(body: Incoming, house: &Arc<House>) -> Result<Response<Written>, Refusal> {
    let body = body::read(body).await?;
    let (to, parts) = unbounded_channel();
    let reader = house.clone();
    // Reading takes time with long texts: other connections go on meanwhile.
    let read = tokio::task::spawn_blocking(move || {
        let request = Request::read(&body)?;
        let job = reader.job(&request, to)?;
        Ok((request, job))
    });
    let (request, job) = read.await.map_err(|_| {
        let message = "the request could not be read";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })??;
    let form = Form {
        id: format!("chatcmpl-{:x}-{:x}", now(), house.number()),
        created: now(),
        model: request.model,
        answers: request.answers,
        prompt_tokens: job.turns[0].ids.len(),
        include_usage: request.include_usage,
    };
    let waiter = Waiter {
        parts,
        gone: job.gone.clone(),
    };
    house.enter(job)?;
    if !request.stream {
        let answers = whole(waiter, form.answers).await?;
        return Ok(json_response(&form.whole(&answers)));
    }
    let mut response = Response::new(Written::stream(Chunks::new(form), waiter));
    let headers = response.headers_mut();
    let events = hyper::header::HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, events);
    let no_cache = hyper::header::HeaderValue::from_static("no-cache");
    headers.insert(CACHE_CONTROL, no_cache);
    Ok(response)
}

/// All answers of a request, each with its text as a stream would have had it.
async fn whole(mut waiter: Waiter, answers: usize) -> Result<Vec<(String, Answer)>, Refusal> {
    let mut texts = vec![String::new(); answers];
    let mut ends: Vec<Option<Answer>> = vec![None; answers];
    while ends.iter().any(Option::is_none) {
        match waiter.parts.recv().await {
            Some(Part::Text(number, text)) => texts[number] += &text,
            Some(Part::End(number, answer)) => ends[number] = Some(answer),
            Some(Part::Failed(why)) => {
                return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why));
            }
            None => {
                let message = "the server is stopping";
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
            }
        }
    }
    Ok(texts.into_iter().zip(ends.into_iter().flatten()).collect())
}

fn json_response(value: &Value) -> Response<Written> {
    let body = Written::Whole(Some(Bytes::from(value.to_string())));
    let mut response = Response::new(body);
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
