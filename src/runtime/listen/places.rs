//! How many may be connected at a time. Pure.
//!
//! Some places are for programs on this host alone: however many others come, the operator on the machine finds one.

use std::{net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one listener.
#[derive(Clone, Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    elsewhere: Arc<Semaphore>,
}

/// A place that is taken, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _elsewhere: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// `all` places, `for_this_host` of them for nobody else.
    pub(super) fn new(all: usize, for_this_host: usize) -> Self {
        assert!(for_this_host < all, "others have places too");
        let elsewhere = Arc::new(Semaphore::new(all - for_this_host));
        Self { all: Arc::new(Semaphore::new(all)), elsewhere }
    }

    /// A place for who comes from `peer`; `None`: all that he could have are taken.
    pub(super) fn take(&self, peer: IpAddr) -> Option<Place> {
        let elsewhere = if peer.to_canonical().is_loopback() {
            None
        } else {
            Some(self.elsewhere.clone().try_acquire_owned().ok()?)
        };
        Some(Place { _all: self.all.clone().try_acquire_owned().ok()?, _elsewhere: elsewhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_leave_places_for_this_host_and_a_place_that_is_left_is_free() {
        let places = Places::new(4, 1);
        let take = |peer: &str| places.take(peer.parse().unwrap());
        let mut taken: Vec<_> = ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"].map(|peer| take(peer).unwrap()).into();
        assert!(take("10.0.0.2").is_none());
        let here = take("::ffff:127.0.0.1").expect("kept for this host");
        assert!(take("127.0.0.1").is_none(), "no more than all");
        taken.pop();
        let again = take("127.0.0.1").unwrap();
        assert!(take("10.0.0.2").is_none());
        drop((here, again));
        assert!(take("10.0.0.2").is_some() && take("127.0.0.1").is_some());
    }
}
