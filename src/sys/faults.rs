//! Changes to the host that fail on purpose, one by one: how a test sees that every single one may fail.
//!
//! ```text
//! counting()    ok ok ok ok ok     which changes are there
//! once(2)       ok ok !! ok ok     the third fails; what undoes the others works
//! from(2)       ok ok !! !! !!     from the third on nothing works any more, as after a crash
//! ```

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// Which changes fail, and which were asked for.
#[derive(Debug, Default)]
pub struct Faults {
    asked: Mutex<Vec<String>>,
    first: Option<usize>,
    for_good: bool,
}

impl Faults {
    /// None fails.
    pub fn counting() -> Arc<Self> {
        Arc::default()
    }

    /// The change after `n` others fails.
    pub fn once(n: usize) -> Arc<Self> {
        Arc::new(Self { first: Some(n), ..Self::default() })
    }

    /// The change after `n` others fails, and every later one.
    pub fn from(n: usize) -> Arc<Self> {
        Arc::new(Self { first: Some(n), for_good: true, ..Self::default() })
    }

    /// Every change so far that was asked for, the failed ones too.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn meet(&self, change: &str) -> io::Result<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let n = asked.len();
        asked.push(change.to_owned());
        let fails = self.first.is_some_and(|first| n == first || (self.for_good && n > first));
        if fails { Err(io::Error::other("this failure was asked for by a test")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Root;
    use std::path::Path;

    fn failed(faults: &Arc<Faults>) -> Vec<bool> {
        let root = Root::at("/").with_faults(faults);
        (0..4).map(|_| root.effect("change", Path::new("/x")).is_err()).collect()
    }

    #[test]
    fn what_was_asked_to_fail_fails_and_nothing_else() {
        assert_eq!(failed(&Faults::counting()), [false; 4]);
        assert_eq!(failed(&Faults::once(1)), [false, true, false, false]);
        let faults = Faults::from(1);
        assert_eq!(failed(&faults), [false, true, true, true]);
        assert_eq!(faults.asked(), ["change /x"; 4]);
        assert!(Root::at("/").effect("change", Path::new("/x")).is_ok());
    }
}
