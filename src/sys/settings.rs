//! The kernel's release and its settings: transparent huge pages, NUMA balancing, swap; and this process's limits.

use super::{
    host::HostError,
    root::{ReadError, Root},
};
use crate::units::Bytes;

/// What `uname -r` prints.
pub fn release(root: &Root) -> Result<String, ReadError> {
    match root.read("/proc/sys/kernel/osrelease") {
        // hwloc-gather-topology takes this one: `Linux version 6.1.0-37-amd64 (…) …`.
        Err(error) if root.is_captured() => {
            let text = root.read_some("/proc/version")?.unwrap_or_default();
            let release = text.strip_prefix("Linux version ").and_then(|rest| rest.split_whitespace().next());
            release.map(str::to_owned).ok_or(error)
        }
        release => release,
    }
}

/// The chosen word of `always [madvise] never`.
pub fn transparent_hugepages(root: &Root) -> Result<String, HostError> {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let text = root.read(PATH)?;
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen
        .map(|(word, _)| word.to_owned())
        .ok_or_else(|| HostError::odd(root, PATH, format!("{text:?} has no choice in brackets")))
}

/// The kernel's number for automatic NUMA balancing.
pub fn numa_balancing(root: &Root) -> Result<u32, HostError> {
    const PATH: &str = "/proc/sys/kernel/numa_balancing";
    let text = root.read(PATH)?;
    text.parse().map_err(|_| HostError::odd(root, PATH, format!("{text:?} is not a number")))
}

/// All swap and how much of it is used.
pub fn swap(root: &Root) -> Result<(Bytes, Bytes), HostError> {
    let (total, free) = (meminfo(root, "SwapTotal")?, meminfo(root, "SwapFree")?);
    Ok((total, Bytes(total.0.saturating_sub(free.0))))
}

/// A field of /proc/meminfo.
pub fn meminfo(root: &Root, field: &str) -> Result<Bytes, HostError> {
    const PATH: &str = "/proc/meminfo";
    kib_field(&root.read(PATH)?, field)
        .ok_or_else(|| HostError::odd(root, PATH, format!("it has no field {field} in kB")))
}

/// The value of `field:  123 kB`; whatever stands before the field's name is passed over (`Node 0 MemFree: …`).
pub(super) fn kib_field(text: &str, field: &str) -> Option<Bytes> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.split_whitespace().next_back()? == field).then_some(())?;
        let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024).map(Bytes)
    })
}

/// A soft and a hard limit; `None` is unlimited.
pub type SoftHard = (Option<u64>, Option<u64>);

/// How much memory this process may lock, and how many files it may open. From /proc, as the kernel prints it.
pub fn limits(root: &Root) -> Result<(SoftHard, SoftHard), HostError> {
    const PATH: &str = "/proc/self/limits";
    let text = root.read(PATH)?;
    let limit = |name: &str| {
        limit_line(&text, name).ok_or_else(|| HostError::odd(root, PATH, format!("it has no line {name:?}")))
    };
    Ok((limit("Max locked memory")?, limit("Max open files")?))
}

fn limit_line(text: &str, name: &str) -> Option<SoftHard> {
    let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    let mut next = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    const THP: &str = "sys/kernel/mm/transparent_hugepage/enabled";

    #[test]
    fn settings_read_as_the_kernel_writes_them() {
        let (_dir, root) = tree(&[
            (THP, "always [madvise] never\n"),
            ("proc/sys/kernel/numa_balancing", "2\n"),
            (
                "proc/meminfo",
                "MemTotal:  9 kB\nSwapCached: 1 kB\nSwapTotal:  4 kB\nSwapFree:  1 kB\nHugePages_Total: 3\n",
            ),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max open files            1024                 524288               files     \n\
                 Max locked memory         8388608              unlimited            bytes     \n",
            ),
        ]);
        assert_eq!(transparent_hugepages(&root).unwrap(), "madvise");
        assert_eq!(numa_balancing(&root).unwrap(), 2);
        assert_eq!(swap(&root).unwrap(), (Bytes(4096), Bytes(3072)));
        assert_eq!(limits(&root).unwrap(), ((Some(8_388_608), None), (Some(1024), Some(524_288))));
        assert!(meminfo(&root, "HugePages_Total").unwrap_err().to_string().contains("no field HugePages_Total in kB"));
    }

    #[test]
    fn the_release_of_a_captured_kernel_is_in_its_version() {
        let (dir, live) = tree(&[("proc/version", "Linux version 6.1.0-37-amd64 (debian@x) (gcc) #1 SMP\n")]);
        let root = Root::captured(dir.path()).unwrap();
        assert_eq!(release(&root).unwrap(), "6.1.0-37-amd64");
        assert!(release(&live).is_err());
        std::fs::write(dir.path().join("proc/version"), "Minix 3\n").unwrap();
        assert!(release(&root).unwrap_err().to_string().starts_with("read /proc/sys/kernel/osrelease"));
    }

    #[test]
    fn odd_settings_are_named_with_their_file() {
        let (_dir, root) = tree(&[
            (THP, "always\n"),
            ("proc/sys/kernel/numa_balancing", "yes\n"),
            ("proc/self/limits", "Max open files            many  1  files\n"),
        ]);
        let odd = |error: HostError| error.to_string();
        assert!(odd(transparent_hugepages(&root).unwrap_err()).contains("transparent_hugepage/enabled: \"always\""));
        assert!(odd(numa_balancing(&root).unwrap_err()).contains("\"yes\" is not a number"));
        assert!(odd(limits(&root).unwrap_err()).contains("no line \"Max locked memory\""));
        assert!(odd(swap(&root).unwrap_err()).contains("/proc/meminfo"));
    }

    #[test]
    fn this_process_has_the_limits_that_the_system_call_tells() {
        use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
        let told = |resource| {
            let (soft, hard) = getrlimit(resource).unwrap();
            let number = |value| (value != RLIM_INFINITY).then_some(value);
            (number(soft), number(hard))
        };
        let expected = (told(Resource::RLIMIT_MEMLOCK), told(Resource::RLIMIT_NOFILE));
        assert_eq!(limits(&Root::at("/")).unwrap(), expected);
    }
}
