//! A piece over HTTP, as a stream of bytes: never in memory as a whole, and never more of it than was asked for.
//!
//! The token goes to the origin that was asked and nowhere else, and no message holds it. Redirects are followed to that
//! origin and to those that were configured. A stream that ends early is an error of the reader, not an end.

use crate::runtime::words::with_causes;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue, LOCATION},
    redirect::Policy,
};
use std::{
    fmt,
    io::{self, Read},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// The variable by which a daemon, ours or the field's, tells an add_pieces processor its token.
pub const ENV_TOKEN: &str = "PIECE_FETCHER_TOKEN";
/// The variable by which our daemon tells it the origins that redirects may lead to, with blanks between them.
pub const ENV_ORIGINS: &str = "PIECE_FETCHER_ORIGINS";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two parts of an answer. The whole may take hours.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// From a manager to a market, and perhaps on to where the market has its data.
const REDIRECTS_MAX: usize = 3;

/// Fetches pieces, with a token where there is one.
#[derive(Clone, Default)]
pub struct Fetch {
    token: Option<String>,
    /// Where redirects may lead to, beside the origin that was asked.
    origins: Vec<String>,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("has_token", &self.token.is_some()).field("origins", &self.origins).finish()
    }
}

/// Why a piece cannot be had from an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {what}")]
pub struct FetchError {
    /// The address, without what it may keep secret.
    pub from: String,
    pub what: String,
    /// Trying the same again cannot help.
    pub permanent: bool,
}

impl Fetch {
    /// Fetches with this token, and follows redirects to these origins.
    pub fn new(token: Option<String>, origins: Vec<String>) -> Self {
        Self { token, origins }
    }

    /// Fetches with what the environment says.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let origins = var(ENV_ORIGINS).unwrap_or_default();
        let origins = origins.split_whitespace().map(str::to_owned).collect();
        Self::new(var(ENV_TOKEN).filter(|token| !token.is_empty()), origins)
    }

    /// What `from_vars` reads, for the environment of a child.
    pub fn vars(&self) -> impl Iterator<Item = (&'static str, String)> {
        let token = self.token.clone().map(|token| (ENV_TOKEN, token));
        let origins = (!self.origins.is_empty()).then(|| (ENV_ORIGINS, self.origins.join(" ")));
        token.into_iter().chain(origins)
    }

    /// Opens the piece at `url`, of which the first `payload` bytes are needed. Blocks; not to be called inside tokio.
    pub fn open(&self, url: &str, payload: u64) -> Result<Download, FetchError> {
        let from = shown(url);
        let fail = |what: String, permanent| FetchError { from: from.clone(), what, permanent };
        let address = Url::parse(url).map_err(|error| fail(format!("is no address: {error}"), true))?;
        if !is_http(&address) {
            return Err(fail("is neither http nor https".into(), true));
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| fail(format!("start the async runtime: {error}"), false))?;
        let response = runtime.block_on(self.ask(address)).map_err(|(what, permanent)| fail(what, permanent))?;
        if let Some(length) = response.content_length().filter(|length| *length < payload) {
            return Err(fail(format!("has {length} bytes, the deal's data has {payload}"), false));
        }
        Ok(Download { runtime, response, part: Vec::new(), read: 0, done: 0 })
    }

    async fn ask(&self, address: Url) -> Result<Response, (String, bool)> {
        let client = Client::builder()
            .user_agent(concat!("damocles-worker/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_MAX)
            .redirect(Policy::none())
            // As the manager's calls: asked directly, whatever the environment's proxies are.
            .no_proxy()
            .build()
            .map_err(|error| (format!("set up the HTTP client: {}", with_causes(&error)), false))?;
        let mut token = self.bearer().map_err(|what| (what, true))?;
        let (asked, mut address) = (address.origin(), address);
        for _ in 0..=REDIRECTS_MAX {
            let mut request = client.get(address.clone());
            if let Some(token) = &token {
                request = request.header(AUTHORIZATION, token.clone());
            }
            let redirected = address.origin() != asked;
            let from = if redirected { format!("redirected to {}: ", origin(&address)) } else { String::new() };
            let response = request.send().await.map_err(|error| (from.clone() + &no_answer(error), false))?;
            let status = response.status();
            let Some(target) = redirect(&response, &address) else {
                let refused = refusal(status, token.is_some(), redirected);
                return refused.map_or(Ok(response), |what| Err((from + &what, false)));
            };
            if target.origin() != asked && !self.may_lead_to(&target) {
                return Err((from + &not_followed(status, &target), false));
            }
            // Once it has been left, the origin that was asked does not get it again: who sends us there is another.
            token = token.filter(|_| target.origin() == address.origin());
            address = target;
        }
        Err((format!("redirected more than {REDIRECTS_MAX} times, at last to {}", origin(&address)), false))
    }

    fn bearer(&self) -> Result<Option<HeaderValue>, String> {
        let Some(token) = &self.token else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the piece token cannot be sent: it holds other than visible ASCII".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn may_lead_to(&self, target: &Url) -> bool {
        let is_it = |origin: &String| Url::parse(origin).is_ok_and(|origin| origin.origin() == target.origin());
        is_http(target) && self.origins.iter().any(is_it)
    }
}

/// Where an answer leads to instead of being the piece.
fn redirect(response: &Response, address: &Url) -> Option<Url> {
    let leads = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| leads)?;
    address.join(location.to_str().ok()?).ok()
}

fn not_followed(status: StatusCode, target: &Url) -> String {
    let target = origin(target);
    format!(
        "answered {status}: it leads to {target}, which sector_manager.piece_origins does not list: add it there if pieces may come \
         from it (the token is not sent there), or bring the piece into a folder of worker.local_pieces_dirs"
    )
}

/// What may be shown of any address.
fn origin(address: &Url) -> String {
    if is_http(address) { address.origin().ascii_serialization() } else { "an address that is not of HTTP".into() }
}

fn is_http(address: &Url) -> bool {
    matches!(address.scheme(), "http" | "https")
}

fn no_answer(error: reqwest::Error) -> String {
    let (timeout, connect) = (error.is_timeout(), error.is_connect());
    let causes = with_causes(&error.without_url());
    match (connect, timeout) {
        (true, _) => format!("could not connect: {causes}"),
        (false, true) => format!("no answer within {SILENCE_MAX:?}"),
        (false, false) => format!("the answer was cut off or is no HTTP: {causes}"),
    }
}

/// What a status says about the piece; the body is not shown, because nobody knows what is in it.
fn refusal(status: StatusCode, has_token: bool, redirected: bool) -> Option<String> {
    Some(match status {
        StatusCode::OK => return None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if redirected => {
            format!("answered {status}: the token goes to the manager alone, which has to let others give its pieces")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let what = if has_token { "the token is not accepted" } else { "a token is needed" };
            format!("answered {status}: {what}: check sector_manager.piece_token")
        }
        StatusCode::NOT_FOUND => format!("answered {status}: the piece is not there"),
        _ => format!("answered {status}"),
    })
}

/// `url` without user, password, query and fragment. Of what is no address of HTTP nobody knows what is secret.
pub(super) fn shown(url: &str) -> String {
    let url = Url::parse(url).ok().filter(is_http);
    let Some(mut url) = url else { return "an address that is not of HTTP".into() };
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for URLs without a host, which http and https never are.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.to_string()
}

/// An answer whose body is read as it comes.
pub struct Download {
    runtime: Runtime,
    response: Response,
    part: Vec<u8>,
    /// How much of `part` has been handed out.
    read: usize,
    done: u64,
}

impl Read for Download {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        while self.read == self.part.len() {
            let part = self.runtime.block_on(self.response.chunk());
            let part = part.map_err(|error| {
                io::Error::other(format!("cut off after {} bytes: {}", self.done, with_causes(&error.without_url())))
            })?;
            let Some(part) = part else { return Ok(0) };
            (self.part, self.read) = (part.into(), 0);
        }
        let n = target.len().min(self.part.len() - self.read);
        target[..n].copy_from_slice(&self.part[self.read..self.read + n]);
        self.read += n;
        self.done += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    /// Answers one request with `answer` and gives back what was asked.
    fn serve(answer: &'static str) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/piecestore/baga", listener.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = Vec::new();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                match line.unwrap() {
                    end if end.is_empty() => break,
                    line => lines.push(line),
                }
            }
            stream.write_all(answer.as_bytes()).unwrap();
            lines
        });
        (url, asked)
    }

    fn refused(answer: &'static str, token: Option<&str>) -> String {
        let (url, asked) = serve(answer);
        let error =
            Fetch::new(token.map(str::to_owned), Vec::new()).open(&url, 10).err().expect("it is refused").to_string();
        asked.join().unwrap();
        assert!(error.starts_with(&url), "{error}");
        error
    }

    #[test]
    fn the_token_goes_along_and_the_bytes_come() {
        let (url, asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello piece");
        let mut bytes = Vec::new();
        Fetch::new(Some("t0ken".into()), Vec::new()).open(&url, 5).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"hello piece");
        let asked = asked.join().unwrap();
        assert_eq!(asked[0], "GET /piecestore/baga HTTP/1.1");
        assert!(asked.contains(&"authorization: Bearer t0ken".to_owned()), "{asked:?}");

        let (url, asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        Fetch::default().open(&url, 5).unwrap();
        assert!(!asked.join().unwrap().iter().any(|line| line.starts_with("authorization")), "none without a token");
    }

    #[test]
    fn a_refusal_says_what_to_do_and_never_holds_the_token() {
        let unauthorized = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nt0ken";
        for (token, said) in [(Some("t0ken"), "the token is not accepted"), (None, "a token is needed")] {
            let error = refused(unauthorized, token);
            assert!(error.contains(said) && error.contains("piece_token") && !error.contains("t0ken"), "{error}");
        }
        assert!(
            refused("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", None).contains("the piece is not there")
        );
        assert!(refused("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", None).contains("answered 500"));
        let short = refused("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", None);
        assert!(short.contains("has 9 bytes, the deal's data has 10"), "{short}");
    }

    /// Answers one request by leading to `target`.
    fn leading_to(target: &str) -> (String, JoinHandle<Vec<String>>) {
        let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
        serve(answer.leak())
    }

    fn origin_of(url: &str) -> String {
        url.split_once("/piecestore").unwrap().0.to_owned()
    }

    fn has_token(asked: JoinHandle<Vec<String>>) -> bool {
        asked.join().unwrap().iter().any(|line| line.contains("t0ken"))
    }

    #[test]
    fn a_redirect_is_followed_to_an_origin_that_is_configured_and_without_the_token() {
        let (market, asked_market) = serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        let (manager, asked_manager) = leading_to(&format!("{market}?sig=s3cret"));
        let mut bytes = Vec::new();
        let fetch = Fetch::new(Some("t0ken".into()), vec!["http://other:1".into(), origin_of(&market)]);
        fetch.open(&manager, 5).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"hello");
        assert!(has_token(asked_manager));
        assert!(!has_token(asked_market));
    }

    #[test]
    fn any_other_redirect_is_refused_with_the_key_that_would_allow_it() {
        let elsewhere =
            "HTTP/1.1 302 Found\r\nLocation: https://u:pw@127.0.0.1:1/other?sig=s3cret\r\nContent-Length: 0\r\n\r\n";
        let error = refused(elsewhere, Some("t0ken"));
        let told =
            "answered 302 Found: it leads to https://127.0.0.1:1, which sector_manager.piece_origins does not list";
        assert!(error.contains(told) && error.contains("local_pieces_dirs"), "{error}");
        assert!(!error.contains("s3cret") && !error.contains("pw"), "{error}");
        let error = refused("HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", None);
        assert!(error.contains("an address that is not of HTTP, which sector_manager.piece_origins"), "{error}");
        assert!(refused("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", None).contains("answered 302"));
        // The same host and port with another scheme is another origin.
        let (manager, _asked) = leading_to("https://127.0.0.1:1/");
        let fetch = Fetch::new(None, vec!["http://127.0.0.1:1".into()]);
        assert!(fetch.open(&manager, 1).err().unwrap().what.contains("piece_origins does not list"));
    }

    #[test]
    fn what_a_market_says_no_to_is_told_as_the_markets() {
        let (market, asked) = serve("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        let (manager, _asked) = leading_to(&market);
        let fetch = Fetch::new(Some("t0ken".into()), vec![origin_of(&market)]);
        let error = fetch.open(&manager, 1).err().unwrap().what;
        let told = format!(
            "redirected to {}: answered 401 Unauthorized: the token goes to the manager alone",
            origin_of(&market)
        );
        assert!(error.starts_with(&told), "{error}");
        assert!(!has_token(asked));
    }

    #[test]
    fn redirects_have_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/piecestore/baga", listener.local_addr().unwrap());
        thread::spawn(move || {
            let answer = "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let error = Fetch::default().open(&url, 1).err().unwrap().what;
        assert!(error.starts_with("redirected more than 3 times, at last to http://127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_child_reads_in_its_environment_what_it_was_told() {
        let told = Fetch::new(Some("t0ken".into()), vec!["http://a:1".into(), "https://b".into()]);
        let vars: std::collections::BTreeMap<_, _> = told.vars().collect();
        let read = Fetch::from_vars(|name| vars.get(name).cloned());
        assert_eq!((read.token, read.origins), (told.token, told.origins));
        assert_eq!(Fetch::default().vars().count(), 0);
    }

    #[test]
    fn a_stream_that_is_cut_off_is_an_error_of_the_reader() {
        let (url, _asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
        let mut download = Fetch::default().open(&url, 1000).unwrap();
        let error = io::copy(&mut download, &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("cut off after 9 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_refused_for_good_and_not_shown() {
        for url in ["hunter2:secret", "ftp://me:secret@m/x"] {
            let error = Fetch::default().open(url, 1).err().expect("it is refused");
            assert!(error.permanent && !error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(
            format!("{:?}", Fetch::new(Some("t0ken".into()), Vec::new())),
            "Fetch { has_token: true, origins: [] }"
        );
    }
}
