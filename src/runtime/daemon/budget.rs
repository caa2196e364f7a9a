//! How many more sectors may be begun when the operator asked for a number of them.

use std::sync::Mutex;

/// Permits to seal a sector. Without a number there is always one more.
#[derive(Debug)]
pub(super) struct Budget(Option<Mutex<u64>>);

impl Budget {
    /// `sectors` permits, or no end of them.
    pub(super) fn new(sectors: Option<u64>) -> Self {
        Self(sectors.map(Mutex::new))
    }

    /// Takes a permit if there is one.
    pub(super) fn take(&self) -> bool {
        let Some(left) = &self.0 else { return true };
        let mut left = left.lock().expect("no one panics while counting");
        let had = *left > 0;
        *left -= u64::from(had);
        had
    }

    /// Returns the permit of a sector that was given up.
    pub(super) fn give_back(&self) {
        if let Some(left) = &self.0 {
            *left.lock().expect("no one panics while counting") += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_run_out_and_come_back() {
        let budget = Budget::new(Some(1));
        assert!(budget.take() && !budget.take());
        budget.give_back();
        assert!(budget.take());
        assert!((0..100).all(|_| Budget::new(None).take()));
    }
}
