//! A piece over HTTP, as a stream of bytes: never in memory as a whole, and never more of it than was asked for.
//!
//! The token goes to the address that was asked and nowhere else, so redirects are not followed, and no message holds
//! it. A stream that ends early is an error of the reader, not an end.

use crate::runtime::words::with_causes;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderValue},
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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two parts of an answer. The whole may take hours.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Fetches pieces, with a token where there is one.
#[derive(Clone, Default)]
pub struct Fetch {
    token: Option<String>,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("has_token", &self.token.is_some()).finish()
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
    /// Fetches with this token.
    pub fn new(token: Option<String>) -> Self {
        Self { token }
    }

    /// Fetches with the token of the environment.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        Self::new(var(ENV_TOKEN).filter(|token| !token.is_empty()))
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
        let mut request = client.get(address);
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| ("the piece token cannot be sent: it holds other than visible ASCII".to_owned(), true))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send().await.map_err(|error| (no_answer(error), false))?;
        match refusal(response.status(), self.token.is_some()) {
            None => Ok(response),
            Some(what) => Err((what, false)),
        }
    }
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
fn refusal(status: StatusCode, has_token: bool) -> Option<String> {
    Some(match status {
        StatusCode::OK => return None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let what = if has_token { "the token is not accepted" } else { "a token is needed" };
            format!("answered {status}: {what}: check sector_manager.piece_token")
        }
        StatusCode::NOT_FOUND => format!("answered {status}: the manager does not have the piece"),
        _ if status.is_redirection() => format!(
            "answered {status}: redirects are not followed, because the token would go to a place that nobody configured; \
             bring the piece into a folder of worker.local_pieces_dirs or into the manager's own store"
        ),
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
        let error = Fetch::new(token.map(str::to_owned)).open(&url, 10).err().expect("it is refused").to_string();
        asked.join().unwrap();
        assert!(error.starts_with(&url), "{error}");
        error
    }

    #[test]
    fn the_token_goes_along_and_the_bytes_come() {
        let (url, asked) = serve("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello piece");
        let mut bytes = Vec::new();
        Fetch::new(Some("t0ken".into())).open(&url, 5).unwrap().read_to_end(&mut bytes).unwrap();
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
            refused("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", None).contains("does not have the piece")
        );
        assert!(refused("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", None).contains("answered 500"));
        let short = refused("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", None);
        assert!(short.contains("has 9 bytes, the deal's data has 10"), "{short}");
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/other\r\nContent-Length: 0\r\n\r\n";
        let error = refused(elsewhere, Some("t0ken"));
        assert!(error.contains("redirects are not followed") && error.contains("local_pieces_dirs"), "{error}");
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
        assert_eq!(format!("{:?}", Fetch::new(Some("t0ken".into()))), "Fetch { has_token: true }");
    }
}
