//! What the hub's answers mean, for people.
use crate::error::{Error, refused};
use crate::http::{Client, Fault};
use crate::name::{Kind, Name};
use std::io::Read as _;
use std::time::Duration;
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

/// Longest list of files that is read.
const LONGEST_LIST: u64 = 64 << 20;

/// What was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: &'a Name,
    pub(crate) kind: Kind,
}

impl Asked<'_> {
    /// The answer, if it is one; else what its status means.
    pub(crate) fn good(&self, answer: Response<Body>) -> Result<Response<Body>, Fault> {
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            StatusCode::TOO_MANY_REQUESTS => Err(Fault::Busy(retry_after(&answer))),
            StatusCode::SERVICE_UNAVAILABLE if retry_after(&answer).is_some() => {
                Err(Fault::Busy(retry_after(&answer)))
            }
            StatusCode::REQUEST_TIMEOUT => Err(self.broken("408 Request Timeout")),
            status if status.is_server_error() => Err(self.broken(&status.to_string())),
            status => Err(Fault::Final(
                self.refusal(status, header_text(&answer, "x-error-code")),
            )),
        }
    }

    /// The whole body of a list.
    pub(crate) fn list(&self, answer: Response<Body>) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let mut body = answer.into_body().into_reader().take(LONGEST_LIST + 1);
        body.read_to_end(&mut bytes)
            .map_err(|_| self.broken("the list of files broke off"))?;
        if bytes.len() as u64 > LONGEST_LIST {
            return Err(self.not_a_hub("a list without end"));
        }
        Ok(bytes)
    }

    /// An answer that no hub gives.
    pub(crate) fn not_a_hub(&self, what: &str) -> Fault {
        Fault::Final(refused(
            format!(
                "{}: {} answers with {what}",
                self.name.repository(),
                self.client.host()
            ),
            "is it a hub, and does nothing stand between (a login page, a proxy)? HF_ENDPOINT names another one",
        ))
    }

    pub(crate) fn broken(&self, what: &str) -> Fault {
        Fault::Broken(format!(
            "{}: {}: {what}",
            self.name.repository(),
            self.client.host()
        ))
    }

    fn refusal(&self, status: StatusCode, code: Option<String>) -> Error {
        let (name, kind, host) = (self.name, self.kind, self.client.host());
        let repository = name.repository();
        let revision = name.revision();
        let is_known = self.client.is_known();
        match (status.as_u16(), code.as_deref()) {
            (403, _) | (_, Some("GatedRepo")) => refused(
                format!(
                    "{repository}: {host} lets only those in who have accepted its terms ({status})"
                ),
                format!(
                    "accept them on its page, {host}/{}, with the account whose token is in HF_TOKEN",
                    name.id()
                ),
            ),
            (401, _) if is_known => refused(
                format!("{repository}: {host} does not take the token ({status})"),
                "log in anew (huggingface-cli login), or set HF_TOKEN to a token that may read this repository",
            ),
            (401, _) => refused(
                format!(
                    "{repository}: {host} shows no {kind} of that name without a token ({status})"
                ),
                "check the name; for a private or gated one set HF_TOKEN (it is sent over https alone), or run huggingface-cli login",
            ),
            (404, Some("RevisionNotFound")) => refused(
                format!("{repository} has no revision {revision}"),
                format!(
                    "its branches and tags are on its page; {repository} alone takes the main branch"
                ),
            ),
            (404, _) => refused(
                format!(
                    "{host} has no {kind} {repository}, or none with the revision {revision} ({status})"
                ),
                match kind {
                    Kind::Model => {
                        "check owner, name and revision; capital letters count, and a private one needs HF_TOKEN"
                    }
                    Kind::Dataset => {
                        "check owner, name and revision; a dataset is looked for, not a model; a private one needs HF_TOKEN"
                    }
                },
            ),
            _ => refused(
                format!("{repository}: {host} answers {status}"),
                "try again later; HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 takes what is in the cache",
            ),
        }
    }
}

/// How long the server wants us to wait. (A date is a wish as well, but one that a wrong clock makes endless.)
fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    let text = header_text(answer, header::RETRY_AFTER.as_str())?;
    text.trim().parse().ok().map(Duration::from_secs)
}

pub(crate) fn header_text(answer: &Response<Body>, name: &str) -> Option<String> {
    let value = answer.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}
