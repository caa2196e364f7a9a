//! Who is calling, and what he may do: one rule for every server of ours. Pure.
//!
//! ```text
//!                  no token          the right token   a wrong token
//! this host        everything        everything        nothing
//! elsewhere        reads             everything        nothing
//! ```
//!
//! The token comes as `Authorization: Bearer TOKEN`; any other Authorization is a wrong one. A server without a token of its
//! own knows no wrong one. What a proxy passed on or a web page sent comes from elsewhere, whatever the address is.

use crate::sys::token::Token;
use std::net::IpAddr;

/// The rule of one server.
#[derive(Debug)]
pub struct Access {
    server: Server,
    token: Option<Token>,
}

/// A server as its callers hear of it.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// What it is: `worker`.
    pub name: &'static str,
    /// Where its token is set.
    pub token_key: &'static str,
}

/// A caller whose headers are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A program on this host.
    Here,
    /// Whoever sent the token.
    Known,
    /// Somebody elsewhere: reads only.
    Stranger,
}

impl Access {
    /// Everything for this host, and with `token` for every other.
    pub fn new(server: Server, token: Option<Token>) -> Self {
        Self { server, token }
    }

    /// Whether there is a token with which other hosts change something.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Who calls from `peer` with this `Authorization` header.
    ///
    /// # Errors
    /// He sent a wrong token.
    pub fn caller(&self, peer: IpAddr, passed_on: bool, authorization: Option<&str>) -> Result<Caller, String> {
        match (&self.token, authorization) {
            (Some(token), Some(sent)) if token.is_sent(sent) => Ok(Caller::Known),
            (Some(_), Some(_)) => Err(format!("the token is not this {}'s", self.server.name)),
            _ if peer.to_canonical().is_loopback() && !passed_on => Ok(Caller::Here),
            _ => Ok(Caller::Stranger),
        }
    }

    /// Whether `caller` may change something.
    ///
    /// # Errors
    /// What he has to bring.
    pub fn may_change(&self, caller: Caller) -> Result<(), String> {
        let Server { name, token_key } = self.server;
        match (caller, self.has_token()) {
            (Caller::Here | Caller::Known, _) => Ok(()),
            (Caller::Stranger, true) => {
                Err(format!("from another host this needs the token of {token_key}, as Authorization: Bearer TOKEN"))
            }
            (Caller::Stranger, false) => Err(format!(
                "from another host this {name} answers reading calls only; set {token_key} to allow more, or call on the \
                 {name}'s own host"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Server = Server { name: "worker", token_key: "worker.rpc_server.token_file" };
    const RIGHT: &str = "Bearer 0123456789abcdef0123";

    fn with_token() -> Access {
        Access::new(SERVER, Some(Token::parse("0123456789abcdef0123").unwrap()))
    }

    fn who(access: &Access, peer: &str, authorization: Option<&str>) -> Result<Caller, String> {
        access.caller(peer.parse().unwrap(), false, authorization)
    }

    const HERE: [&str; 4] = ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"];
    const ELSEWHERE: [&str; 5] = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "169.254.0.1"];

    #[test]
    fn this_host_needs_no_token_and_another_needs_it_for_changes() {
        for access in [Access::new(SERVER, None), with_token()] {
            for peer in HERE {
                assert_eq!(who(&access, peer, None), Ok(Caller::Here), "{peer}");
            }
            for peer in ELSEWHERE {
                assert_eq!(who(&access, peer, None), Ok(Caller::Stranger), "{peer}");
            }
        }
        for peer in HERE.iter().chain(&ELSEWHERE) {
            assert_eq!(who(&with_token(), peer, Some(RIGHT)), Ok(Caller::Known));
            assert_eq!(who(&with_token(), peer, Some("bearer  0123456789abcdef0123 ")), Ok(Caller::Known));
        }
    }

    #[test]
    fn a_wrong_token_is_refused_even_where_none_is_needed() {
        for wrong in [
            "Bearer 0123456789abcdef012",
            "Bearer 0123456789ABCDEF0123",
            "Bearer ",
            "0123456789abcdef0123",
            "Basic 0123456789abcdef0123",
            "",
        ] {
            for peer in HERE.iter().chain(&ELSEWHERE) {
                let refused = who(&with_token(), peer, Some(wrong)).unwrap_err();
                assert_eq!(refused, "the token is not this worker's", "{wrong:?} from {peer}");
            }
        }
    }

    #[test]
    fn without_a_token_of_ours_none_is_wrong_and_none_is_right() {
        // Workers of the field may send headers that mean nothing here.
        let access = Access::new(SERVER, None);
        assert_eq!(who(&access, "127.0.0.1", Some("Bearer x")), Ok(Caller::Here));
        assert_eq!(who(&access, "192.0.2.1", Some(RIGHT)), Ok(Caller::Stranger));
    }

    #[test]
    fn what_was_passed_on_comes_from_elsewhere() {
        let here = "127.0.0.1".parse().unwrap();
        assert_eq!(with_token().caller(here, true, None), Ok(Caller::Stranger));
        assert_eq!(with_token().caller(here, true, Some(RIGHT)), Ok(Caller::Known));
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let without = Access::new(SERVER, None);
        for (caller, may) in [(Caller::Here, true), (Caller::Known, true), (Caller::Stranger, false)] {
            assert_eq!((without.may_change(caller).is_ok(), with_token().may_change(caller).is_ok()), (may, may));
        }
        let said = |access: &Access| access.may_change(Caller::Stranger).unwrap_err();
        assert!(said(&without).contains("reading calls only; set worker.rpc_server.token_file to allow more"));
        assert!(said(&with_token()).contains("the token of worker.rpc_server.token_file, as Authorization: Bearer"));
    }
}
