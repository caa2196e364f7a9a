//! The environment of this process, changed where nobody else can be looking.
//!
//! Some libraries take a setting from the environment alone. C code reads the environment without a lock, so changing it
//! while another thread runs is undefined. Here it is changed only while the kernel counts one thread, and that
//! one is ours: no other can come up meanwhile, because only a running thread starts another. The safe twin is not
//! to change it; callers must do the same work then, if slower, and tests compare the two.

use std::{env, fs, marker::PhantomData};

/// A variable that is set for as long as this is kept.
#[derive(Debug)]
pub struct Setting {
    name: &'static str,
    /// It stays on its thread, the only one.
    _here: PhantomData<*const ()>,
}

impl Setting {
    /// Sets the variable. `None` where it is set already, or where another thread could be looking.
    pub fn of(name: &'static str, value: &str) -> Option<Self> {
        if env::var_os(name).is_some() || !is_alone() {
            return None;
        }
        // SAFETY: no safe function sets a variable. It requires that no other thread reads or writes the
        // environment meanwhile: the kernel has just counted one thread in this process, the calling one, which starts
        // no other before this returns.
        #[expect(unsafe_code, clippy::disallowed_methods)]
        unsafe {
            env::set_var(name, value);
        }
        Some(Self { name, _here: PhantomData })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // With company by now it stays: children of this process may see it, and it was chosen to be harmless.
        if is_alone() {
            // SAFETY: as in `of`; this is the same thread, and it was counted alone again.
            #[expect(unsafe_code, clippy::disallowed_methods)]
            unsafe {
                env::remove_var(self.name);
            }
        }
    }
}

/// Whether this process has one thread only. Where the kernel does not tell, it may have more.
fn is_alone() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_company_nothing_is_changed() {
        // The test harness and this test's thread are two.
        assert!(!is_alone());
        assert!(Setting::of("DAMOCLES_NOBODY_READS_THIS", "1").is_none());
        assert_eq!(env::var_os("DAMOCLES_NOBODY_READS_THIS"), None);
    }

    #[test]
    fn what_somebody_has_set_is_left_to_them() {
        assert!(Setting::of("PATH", "/nowhere").is_none());
        assert_ne!(env::var_os("PATH"), Some("/nowhere".into()));
    }
}
