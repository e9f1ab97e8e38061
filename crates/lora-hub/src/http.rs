//! One request to the hub, and those that its redirects lead to. The token goes to the hub's own host and nowhere else.
use crate::error::{Error, Result, refused};
use crate::settings::{Patience, Settings, Token};
use std::time::Duration;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// Time to find a host and to reach it.
const CONNECT: Duration = Duration::from_secs(15);

/// Whom we ask.
pub(crate) struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<Token>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nobody was reached. The host, and why.
    Unreachable(String, String),
    /// The answer broke off, or was the server's own failure.
    Broken(String),
    /// The server wants us to wait, for so long if it says so.
    Busy(Option<Duration>),
    /// Asking again won't help.
    Final(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let Patience { silence, .. } = settings.patience;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .accept_encoding("identity")
            .user_agent(concat!("lora-tools/", env!("CARGO_PKG_VERSION")));
        Ok(Self {
            agent: config.build().new_agent(),
            endpoint: endpoint(&settings.endpoint)?,
            token: settings.token.clone(),
        })
    }

    /// The hub's host, for people.
    pub(crate) fn host(&self) -> &str {
        self.endpoint.host().unwrap_or_default()
    }

    /// The answer to `path`, which begins with `/`; from byte `from` on, if that is not 0.
    pub(crate) fn get(&self, path: &str, from: u64) -> Result<Response<Body>, Fault> {
        let base = self.endpoint.to_string();
        let mut at = parsed(&format!("{}{path}", base.trim_end_matches('/')))?;
        for _ in 0..=REDIRECTS {
            let answer = self.ask(&at, from)?;
            if !answer.status().is_redirection() || answer.status() == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            let to = answer.headers().get(header::LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
            at = follow(&at, to)?;
        }
        Err(Fault::Final(refused(
            format!("{} redirects without end", self.host()),
            "HF_ENDPOINT should name a hub: unset it, or correct it",
        )))
    }

    fn ask(&self, at: &Uri, from: u64) -> Result<Response<Body>, Fault> {
        let mut request = self.agent.get(at);
        if let Some(token) = self.token.as_ref().filter(|_| self.may_know(at)) {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| fault(at, error))
    }

    /// True if the token may be sent there: to the hub's own host, and not in the clear over a network.
    fn may_know(&self, at: &Uri) -> bool {
        let is_local = matches!(at.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        origin(at) == origin(&self.endpoint) && (at.scheme_str() == Some("https") || is_local)
    }

    /// True if there is a token, and the hub may know it.
    pub(crate) fn is_known(&self) -> bool {
        self.token.is_some() && self.may_know(&self.endpoint)
    }
}

fn origin(at: &Uri) -> (Option<&str>, Option<&str>, Option<u16>) {
    let usual = if at.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    (at.scheme_str(), at.host(), at.port_u16().or(Some(usual)))
}

/// Reads HF_ENDPOINT.
fn endpoint(text: &str) -> Result<Uri> {
    const FORM: &str = "it is https://HOST of a hub, or is not set at all";
    let uri: Option<Uri> = text.trim().trim_end_matches('/').parse().ok();
    let is_web =
        |uri: &Uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some();
    let uri = uri
        .filter(|uri| is_web(uri) && uri.query().is_none())
        .ok_or_else(|| refused("HF_ENDPOINT is no address of a hub", FORM))?;
    // Not shown: it may hold a password.
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(refused(
            "HF_ENDPOINT holds a name or a password",
            "put the token into HF_TOKEN, and https://HOST alone into HF_ENDPOINT",
        ));
    }
    Ok(uri)
}

fn parsed(text: &str) -> Result<Uri, Fault> {
    text.parse().map_err(|_| {
        Fault::Final(refused(
            "the hub names an address that is none",
            "try again later; HF_ENDPOINT should name a hub",
        ))
    })
}

/// Where a redirect leads. From https it never leads to http.
fn follow(from: &Uri, to: &str) -> Result<Uri, Fault> {
    let root = || {
        let scheme = from.scheme_str().unwrap_or("https");
        let authority = from.authority().map_or("", |authority| authority.as_str());
        (scheme.to_owned(), authority.to_owned())
    };
    let next = if to.starts_with("//") {
        parsed(&format!("{}:{to}", root().0))?
    } else if to.starts_with('/') {
        let (scheme, authority) = root();
        parsed(&format!("{scheme}://{authority}{to}"))?
    } else {
        parsed(to)?
    };
    let is_web = matches!(next.scheme_str(), Some("https" | "http")) && next.host().is_some();
    let is_worse = from.scheme_str() == Some("https") && next.scheme_str() != Some("https");
    if !is_web || is_worse {
        return Err(Fault::Final(refused(
            format!(
                "{} redirects to where nothing is fetched from",
                from.host().unwrap_or_default()
            ),
            "only https addresses are followed; HF_ENDPOINT should name a hub",
        )));
    }
    Ok(next)
}

/// What went wrong on the way to a host. Addresses stay out of it: theirs may be signed.
fn fault(at: &Uri, error: ureq::Error) -> Fault {
    let host = at.host().unwrap_or_default().to_owned();
    let why = match error {
        ureq::Error::HostNotFound => "no host of that name is known".to_owned(),
        ureq::Error::Timeout(_) => "it does not answer".to_owned(),
        ureq::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "it refuses the connection".to_owned(),
            kind => kind.to_string(),
        },
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
            "its certificate can't be trusted".to_owned()
        }
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            "the proxy of the environment does not let us through".to_owned()
        }
        _ => "what it answers is not HTTP".to_owned(),
    };
    Fault::Unreachable(host, why)
}

#[cfg(test)]
mod tests {
    use super::{endpoint, follow};

    #[test]
    fn a_redirect_leads_to_the_web_and_never_from_https_to_http() {
        let from = "https://hub.example:8443/api/x?y=1".parse().unwrap();
        let to = |text: &str| follow(&from, text).ok().map(|uri| uri.to_string());
        assert_eq!(to("/a/b?c=d").unwrap(), "https://hub.example:8443/a/b?c=d");
        assert_eq!(
            to("https://cdn.example/z").unwrap(),
            "https://cdn.example/z"
        );
        assert_eq!(to("//cdn.example/z").unwrap(), "https://cdn.example/z");
        for bad in [
            "",
            "http://hub.example:8443/x",
            "file:///etc/passwd",
            "ftp://h/x",
            "x y",
        ] {
            assert_eq!(to(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host() {
        for good in [
            "https://huggingface.co",
            "http://127.0.0.1:8080/",
            "https://mirror.example/hub",
        ] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "huggingface.co",
            "ftp://h",
            "https://user:secret@h",
            "https://h/?q",
        ] {
            let said = endpoint(bad).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
