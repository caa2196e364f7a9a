//! Who may ask what: this host everything, others what changes nothing, and who has the token everything. Pure.
//!
//! ```text
//!            reads      changes
//! this host  yes        yes
//! elsewhere  yes        with the token
//! ```
//!
//! A wrong token is refused wherever it comes from. A request that says that it was passed on (a proxy's header), or that
//! a web page made it (Origin), came from elsewhere, whatever the address is.

use crate::{runtime::manager::Call, sys::token::Token};
use std::net::IpAddr;

/// The rule of one listener.
#[derive(Debug, Default)]
pub struct Access {
    token: Option<Token>,
}

/// Where a request comes from, and what it brought.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub address: IpAddr,
    /// A proxy or a web page stands between the caller and us.
    pub passed_on: bool,
    /// The value of its Authorization header.
    pub authorization: Option<&'a str>,
}

impl Access {
    /// Everything for this host, and with `token` for every other.
    pub fn new(token: Option<Token>) -> Self {
        Self { token }
    }

    /// Whether `caller` may ask `call`.
    ///
    /// # Errors
    /// What the caller has to bring.
    pub fn may_call(&self, caller: Caller, call: &Call) -> Result<(), &'static str> {
        if changes(call) { self.may_change(caller) } else { self.may_read(caller) }
    }

    /// Whether `caller` may see what changes nothing.
    ///
    /// # Errors
    /// The token is a wrong one.
    pub fn may_read(&self, caller: Caller) -> Result<(), &'static str> {
        match self.token_of(caller) {
            Some(false) => Err("the token is not this manager's"),
            Some(true) | None => Ok(()),
        }
    }

    /// Whether `caller` may change something.
    ///
    /// # Errors
    /// What the caller has to bring.
    pub fn may_change(&self, caller: Caller) -> Result<(), &'static str> {
        self.may_read(caller)?;
        let here = caller.address.to_canonical().is_loopback() && !caller.passed_on;
        match (here || self.token_of(caller) == Some(true), &self.token) {
            (true, _) => Ok(()),
            (false, Some(_)) => {
                Err("changes need the manager's token from another host: send the header Authorization: Bearer TOKEN")
            }
            (false, None) => {
                Err("changes are not taken from another host: this manager was started without a token file")
            }
        }
    }

    /// Whether `caller` may have the data of deals. Without a token of ours anybody may, as with the field's managers.
    ///
    /// # Errors
    /// What the caller has to bring.
    pub fn may_fetch(&self, caller: Caller) -> Result<(), &'static str> {
        if self.token.is_none() {
            return Ok(());
        }
        self.may_change(caller)
            .map_err(|_| "pieces need the manager's token: workers send it as sector_manager.piece_token")
    }

    /// Whether the token that the caller brought is ours; none brought, or none to compare with: nothing to say.
    fn token_of(&self, caller: Caller) -> Option<bool> {
        Some(self.token.as_ref()?.is_sent(caller.authorization?))
    }
}

/// Whether a call may change what the manager knows. One that hands something out does.
fn changes(call: &Call) -> bool {
    match call {
        Call::StoreBasicInfo { .. } | Call::PollPreCommitState(_) | Call::WaitSeed(..) | Call::PollProofState(_) => {
            false
        }
        Call::AllocateSector(_)
        | Call::AcquireDeals(..)
        | Call::AssignTicket(_)
        | Call::SubmitPreCommit { .. }
        | Call::StoreReserveSpace { .. }
        | Call::SubmitPersistedEx { .. }
        | Call::SubmitProof { .. }
        | Call::ReportState(..)
        | Call::ReportFinalized(_)
        | Call::ReportAborted { .. }
        | Call::WorkerPing(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::manager::wire::SectorId;

    const SECTOR: SectorId = SectorId { miner: 1000, number: 1 };
    const READ: Call = Call::PollProofState(SECTOR);
    const CHANGE: Call = Call::AssignTicket(SECTOR);

    fn caller<'a>(address: &str, authorization: Option<&'a str>) -> Caller<'a> {
        Caller { address: address.parse().unwrap(), passed_on: false, authorization }
    }

    fn with_token() -> Access {
        Access::new(Some(Token::parse("a-secret-token-for-tests").unwrap()))
    }

    #[test]
    fn this_host_needs_no_token_and_another_needs_it_for_changes() {
        for access in [Access::default(), with_token()] {
            for here in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
                assert_eq!(access.may_call(caller(here, None), &CHANGE), Ok(()), "{here}");
            }
            for elsewhere in ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", "0.0.0.0", "169.254.0.1"] {
                assert_eq!(access.may_call(caller(elsewhere, None), &READ), Ok(()), "{elsewhere}");
                assert!(access.may_call(caller(elsewhere, None), &CHANGE).is_err(), "{elsewhere}");
            }
        }
        let good = Some("Bearer a-secret-token-for-tests");
        assert_eq!(with_token().may_call(caller("10.0.0.7", good), &CHANGE), Ok(()));
        assert!(Access::default().may_call(caller("10.0.0.7", good), &CHANGE).is_err());
    }

    #[test]
    fn a_wrong_token_is_refused_even_where_none_is_needed() {
        for wrong in [
            "Bearer secret-toke",
            "Bearer a-secret-token-for-tests2",
            "Bearer ",
            "a-secret-token-for-tests",
            "Basic a-secret-token-for-tests",
            "",
        ] {
            for address in ["127.0.0.1", "10.0.0.7"] {
                assert!(with_token().may_call(caller(address, Some(wrong)), &READ).is_err(), "{wrong:?}");
            }
        }
        // Workers of the field may send headers that mean nothing here.
        assert_eq!(Access::default().may_call(caller("127.0.0.1", Some("Bearer x")), &CHANGE), Ok(()));
    }

    #[test]
    fn what_was_passed_on_comes_from_elsewhere() {
        let passed_on = |authorization| Caller { passed_on: true, ..caller("127.0.0.1", authorization) };
        assert!(with_token().may_call(passed_on(None), &CHANGE).is_err());
        assert_eq!(with_token().may_call(passed_on(Some("Bearer a-secret-token-for-tests")), &CHANGE), Ok(()));
        assert_eq!(with_token().may_call(passed_on(None), &READ), Ok(()));
    }
}
