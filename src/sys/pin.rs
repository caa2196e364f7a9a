//! On which CPUs a thread may run.

use crate::units::CpuList;
use nix::{
    errno::Errno,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// This thread's CPUs.
pub fn cpus_of_this_thread() -> Result<CpuList, Errno> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).map(|cpu| cpu as u32).collect())
}

/// Keeps this thread on those of `cpus` that it may use; threads that it starts inherit them.
pub fn pin_this_thread(cpus: &CpuList) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter() {
        set.set(cpu as usize)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_pinned_thread_stays_on_its_cpu_and_the_others_are_free() {
        let all = cpus_of_this_thread().unwrap();
        let one: CpuList = all.iter().take(1).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                pin_this_thread(&one).unwrap();
                assert_eq!(cpus_of_this_thread().unwrap(), one);
            });
        });
        assert_eq!(cpus_of_this_thread().unwrap(), all);
        assert!(pin_this_thread(&CpuList::default()).is_err(), "no CPU at all");
    }
}
