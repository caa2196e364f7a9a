//! Where a manager is: a multiaddr or a URL, turned into the http(s) URL that is called.
//!
//! `/ip4/127.0.0.1/tcp/1789` is the field's usual form; `/http`, `/https`, `/ws` or `/wss` may follow.
//! Web socket addresses are old: the same port answers plain HTTP, so they are mapped and the caller is told.

use super::secret;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The forms that are accepted, for messages.
pub(super) const FORMS: &str = "accepted: \"/ip4/127.0.0.1/tcp/1789\" (ip4, ip6, dns, dns4 or dns6; then perhaps /http or /https), \
     \"http://HOST:PORT\", \"https://HOST:PORT\", or \"embedded\"";

/// What every method of the manager lives under; the caller adds it, so an address need not carry it.
const RPC_PATH: &str = "/rpc/v0";

/// A manager's address, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerUrl {
    /// An http(s) URL without a trailing slash and without `/rpc/v0`.
    pub url: String,
    /// Whether a web socket form was mapped to it.
    pub was_websocket: bool,
}

/// An address that is neither a multiaddr nor a URL we can call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    #[error("{0:?} is not an address of a manager")]
    UnknownForm(String),
    #[error("{0:?} has no scheme")]
    NoScheme(String),
    #[error("{0:?} is not a host")]
    Host(String),
    #[error("{0:?} is not a port")]
    Port(String),
    #[error("{0:?} is not a protocol that a manager speaks")]
    Protocol(String),
    // The last three without the text: what stands there is a secret.
    #[error("the address carries a user name")]
    Credentials,
    #[error("the address carries a query or a fragment")]
    Query,
    #[error("the address begins with a token")]
    Token,
}

/// Understands `addr`.
///
/// # Errors
/// What part of it is wrong.
pub(super) fn manager_url(addr: &str) -> Result<ManagerUrl, AddrError> {
    // First of all, so that no other error can repeat one: a password may hold any letter, so wherever an @ stands a
    // user may stand before it. In a path it is written %40.
    if addr.contains('@') {
        return Err(AddrError::Credentials);
    }
    if addr.contains(['?', '#']) {
        return Err(AddrError::Query);
    }
    if secret::has_token(addr) {
        return Err(AddrError::Token);
    }
    if addr.starts_with('/') {
        return multiaddr(addr);
    }
    let (scheme, rest) = match addr.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None if addr.contains(':') && !addr.contains(char::is_whitespace) => {
            return Err(AddrError::NoScheme(addr.to_owned()));
        }
        None => return Err(AddrError::UnknownForm(addr.to_owned())),
    };
    let (scheme, was_websocket) = http_scheme(&scheme)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    check_authority(authority)?;
    if !path.chars().all(|c| c.is_ascii_graphic()) {
        return Err(AddrError::UnknownForm(addr.to_owned()));
    }
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix(RPC_PATH).unwrap_or(path).trim_end_matches('/');
    Ok(ManagerUrl { url: format!("{scheme}://{authority}{path}"), was_websocket })
}

fn multiaddr(addr: &str) -> Result<ManagerUrl, AddrError> {
    let parts: Vec<&str> = addr[1..].trim_end_matches('/').split('/').collect();
    let [family, host, "tcp", port, tail @ ..] = parts.as_slice() else {
        return Err(AddrError::UnknownForm(addr.to_owned()));
    };
    let host = match *family {
        "ip4" if host.parse::<Ipv4Addr>().is_ok() => (*host).to_owned(),
        "ip6" if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
        "dns" | "dns4" | "dns6" if is_host_name(host) => (*host).to_owned(),
        "ip4" | "ip6" | "dns" | "dns4" | "dns6" => return Err(AddrError::Host((*host).to_owned())),
        _ => return Err(AddrError::UnknownForm(addr.to_owned())),
    };
    let port = port_number(port)?;
    let (scheme, was_websocket) = match tail {
        [] => ("http", false),
        [protocol] => http_scheme(protocol)?,
        _ => return Err(AddrError::Protocol(tail.join("/"))),
    };
    Ok(ManagerUrl { url: format!("{scheme}://{host}:{port}"), was_websocket })
}

fn http_scheme(scheme: &str) -> Result<(&'static str, bool), AddrError> {
    match scheme {
        "http" => Ok(("http", false)),
        "https" => Ok(("https", false)),
        "ws" => Ok(("http", true)),
        "wss" => Ok(("https", true)),
        other => Err(AddrError::Protocol(other.to_owned())),
    }
}

fn check_authority(authority: &str) -> Result<(), AddrError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| AddrError::Host(authority.to_owned()))?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(AddrError::Host(host.to_owned()));
            }
            match port.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if port.is_empty() => (None, None),
                None => return Err(AddrError::Host(authority.to_owned())),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    if let Some(host) = host.filter(|host| !is_host_name(host)) {
        return Err(AddrError::Host(host.to_owned()));
    }
    port.map_or(Ok(()), |port| port_number(port).map(|_| ()))
}

fn port_number(port: &str) -> Result<u16, AddrError> {
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port != 0).ok_or_else(|| AddrError::Port(port.to_owned()))
}

/// Whether `host` can be a host name or a dotted IPv4 address. Four numbers must be an address.
pub(super) fn is_host_name(host: &str) -> bool {
    let labels = || host.trim_end_matches('.').split('.');
    let well_formed = host.len() <= 253
        && labels().all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    let looks_numeric = labels().all(|label| label.bytes().all(|b| b.is_ascii_digit()));
    well_formed && (!looks_numeric || host.parse::<Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_form_becomes_a_url() {
        for (addr, url, was_websocket) in [
            ("/ip4/127.0.0.1/tcp/1789", "http://127.0.0.1:1789", false),
            ("/ip4/127.0.0.1/tcp/1789/", "http://127.0.0.1:1789", false),
            ("/ip4/127.0.0.1/tcp/1789/http", "http://127.0.0.1:1789", false),
            ("/ip4/10.0.0.1/tcp/443/https", "https://10.0.0.1:443", false),
            ("/ip4/10.0.0.1/tcp/80/ws", "http://10.0.0.1:80", true),
            ("/dns/manager.example/tcp/443/wss", "https://manager.example:443", true),
            ("/ip6/::1/tcp/1789", "http://[::1]:1789", false),
            ("/dns4/manager/tcp/1789", "http://manager:1789", false),
            ("/dns6/manager/tcp/1789", "http://manager:1789", false),
            ("http://127.0.0.1:1789", "http://127.0.0.1:1789", false),
            ("HTTP://127.0.0.1:1789/", "http://127.0.0.1:1789", false),
            ("https://manager.example", "https://manager.example", false),
            ("https://manager.example/cluster-1/", "https://manager.example/cluster-1", false),
            ("http://[::1]:1789/rpc/v0", "http://[::1]:1789", false),
            ("http://manager:1789/rpc/v0/", "http://manager:1789", false),
            ("ws://127.0.0.1:1789", "http://127.0.0.1:1789", true),
            ("wss://manager:1789/rpc/v0", "https://manager:1789", true),
        ] {
            assert_eq!(manager_url(addr), Ok(ManagerUrl { url: url.to_owned(), was_websocket }), "{addr}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_the_part_that_is_wrong() {
        use AddrError::*;
        let text = str::to_owned;
        for (addr, error) in [
            ("", UnknownForm(text(""))),
            ("manager", UnknownForm(text("manager"))),
            ("127.0.0.1:1789", NoScheme(text("127.0.0.1:1789"))),
            ("tcp://127.0.0.1:1789", Protocol(text("tcp"))),
            ("http://", Host(text(""))),
            ("http://a b:1", Host(text("a b"))),
            ("http://300.0.0.1:1789", Host(text("300.0.0.1"))),
            ("http://host:0", Port(text("0"))),
            ("http://host:65536", Port(text("65536"))),
            ("http://host:", Port(text(""))),
            ("http://[::1", Host(text("[::1"))),
            ("http://[nope]:1", Host(text("nope"))),
            ("http://user:secret@host:1", Credentials),
            ("bob:secret@host:1", Credentials),
            ("secret@host", Credentials),
            ("http://bob:sec/ret@host:1", Credentials),
            ("http://bob:1/secret@host:1", Credentials),
            ("/dns/bob:secret@host/tcp/1", Credentials),
            ("http://host:1/?token=x", Query),
            ("http://host?token=x", Query),
            ("/ip4/127.0.0.1/tcp/1/http?token=x", Query),
            ("http://host:1/#secret", Query),
            ("secret:/ip4/127.0.0.1/tcp/1/http", Token),
            ("secret:http://host:1", Token),
            ("/ip4/127.0.0.1", UnknownForm(text("/ip4/127.0.0.1"))),
            ("/ip4/127.0.0.1/udp/1789", UnknownForm(text("/ip4/127.0.0.1/udp/1789"))),
            ("/ip4/999.0.0.1/tcp/1789", Host(text("999.0.0.1"))),
            ("/ip6/127.0.0.1/tcp/1789", Host(text("127.0.0.1"))),
            ("/ip4/127.0.0.1/tcp/99999", Port(text("99999"))),
            ("/ip4/127.0.0.1/tcp/+1", Port(text("+1"))),
            ("/ip4/127.0.0.1/tcp/1789/p2p", Protocol(text("p2p"))),
            ("/ip4/127.0.0.1/tcp/1789/http/x", Protocol(text("http/x"))),
            ("/unix/socket", UnknownForm(text("/unix/socket"))),
        ] {
            assert_eq!(manager_url(addr), Err(error), "{addr}");
        }
    }
}
