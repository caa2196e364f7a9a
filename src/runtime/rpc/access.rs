//! Who is calling, and what he may do. Pure.

use crate::sys::token::{Token, bearer};
use std::net::IpAddr;

/// A caller, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A program on this host.
    Here,
    /// Somebody elsewhere who sent the token.
    Known,
    /// Somebody elsewhere: reads only.
    Stranger,
    /// Somebody elsewhere who sent another token.
    Mistaken,
}

/// Who calls from `peer` with this `Authorization` header. What a proxy passed on comes from elsewhere.
pub(super) fn caller(peer: IpAddr, passed_on: bool, authorization: Option<&str>, token: Option<&Token>) -> Caller {
    if peer.to_canonical().is_loopback() && !passed_on {
        return Caller::Here;
    }
    match (authorization.and_then(bearer), token) {
        (Some(sent), Some(token)) if token.is(sent) => Caller::Known,
        (Some(_), _) => Caller::Mistaken,
        (None, _) => Caller::Stranger,
    }
}

impl Caller {
    /// Why he may not change anything; `None`: he may.
    pub(super) fn refusal(self, has_token: bool) -> Option<&'static str> {
        match (self, has_token) {
            (Self::Here | Self::Known, _) => None,
            (Self::Mistaken, true) => Some("the token is not this worker's"),
            (_, true) => Some(
                "from another host this needs the token of worker.rpc_server.token_file, as Authorization: Bearer TOKEN",
            ),
            (_, false) => Some(
                "from another host this worker answers reading calls only; set worker.rpc_server.token_file to allow more, or call on the worker's own host",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::parse("0123456789abcdef0123").unwrap()
    }

    fn who(peer: &str, authorization: Option<&str>) -> Caller {
        caller(peer.parse().unwrap(), false, authorization, Some(&token()))
    }

    #[test]
    fn this_host_needs_no_token_in_either_family() {
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(who(peer, None), Caller::Here, "{peer}");
            assert_eq!(who(peer, Some("Bearer wrong")), Caller::Here, "{peer}");
        }
    }

    #[test]
    fn what_a_proxy_on_this_host_passed_on_is_a_strangers() {
        let here = "127.0.0.1".parse().unwrap();
        assert_eq!(caller(here, true, None, Some(&token())), Caller::Stranger);
        assert_eq!(caller(here, true, Some("Bearer 0123456789abcdef0123"), Some(&token())), Caller::Known);
    }

    #[test]
    fn elsewhere_only_the_very_token_is_known() {
        for peer in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert_eq!(who(peer, Some("Bearer 0123456789abcdef0123")), Caller::Known);
            assert_eq!(who(peer, Some("bearer  0123456789abcdef0123 ")), Caller::Known);
            for wrong in ["Bearer 0123456789abcdef012", "Bearer 0123456789ABCDEF0123", "Bearer x"] {
                assert_eq!(who(peer, Some(wrong)), Caller::Mistaken, "{wrong}");
            }
            for none in [None, Some("0123456789abcdef0123"), Some("Basic 0123456789abcdef0123"), Some("Bearer")] {
                assert_eq!(who(peer, none), Caller::Stranger, "{none:?}");
            }
        }
        let peer = "192.0.2.1".parse().unwrap();
        assert_eq!(caller(peer, false, Some("Bearer "), None), Caller::Stranger);
        assert_eq!(
            caller(peer, false, Some("Bearer x"), None),
            Caller::Mistaken,
            "without a token of ours none is right"
        );
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        assert_eq!(Caller::Here.refusal(false), None);
        assert_eq!(Caller::Known.refusal(true), None);
        assert!(Caller::Stranger.refusal(false).unwrap().contains("set worker.rpc_server.token_file"));
        assert!(Caller::Stranger.refusal(true).unwrap().contains("Authorization: Bearer"));
        assert!(Caller::Mistaken.refusal(true).unwrap().contains("not this worker's"));
    }
}
