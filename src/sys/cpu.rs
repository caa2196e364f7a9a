//! Processors as the kernel describes them: models, instruction set extensions, SMT, frequency governors.

use super::{
    host::HostError,
    misses::Misses,
    root::{ReadError, Root},
};
use crate::units::CpuList;
use std::collections::{BTreeMap, BTreeSet};

const CPUS: &str = "/sys/devices/system/cpu";

/// What /proc/cpuinfo says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuInfo {
    pub architecture: Option<String>,
    /// The CPUs of each model.
    pub models: BTreeMap<String, CpuList>,
    /// The extensions that every CPU has, sorted.
    pub features: Vec<String>,
}

/// Models and extensions. Offline CPUs are not in it: the kernel does not describe them.
pub fn info(root: &Root) -> Result<CpuInfo, HostError> {
    const PATH: &str = "/proc/cpuinfo";
    let text = root.read(PATH)?;
    let mut info = parse(&text);
    if info.models.is_empty() && info.features.is_empty() {
        return Err(HostError::odd(root, PATH, "it describes no processor in a form that is known here"));
    }
    // Kernels before 6.1 have no such file; the extensions' names tell it then.
    info.architecture = root.read_some("/proc/sys/kernel/arch")?.or(info.architecture);
    Ok(info)
}

/// The kernel's word for simultaneous multithreading.
pub fn smt(root: &Root) -> Result<String, ReadError> {
    root.read(format!("{CPUS}/smt/control"))
}

/// The governors in use with their CPUs; empty where the kernel sets no frequency.
pub fn governors(root: &Root, misses: &mut Misses) -> Result<BTreeMap<String, CpuList>, ReadError> {
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for name in root.names(CPUS)? {
        let Some(cpu) = name.strip_prefix("cpu").and_then(|id| id.parse::<u32>().ok()) else { continue };
        match root.read_some(format!("{CPUS}/{name}/cpufreq/scaling_governor")) {
            Ok(Some(governor)) => found.entry(governor).or_default().push(cpu),
            Ok(None) => {}
            Err(error) => misses.add(format!("governor of CPU {cpu}"), error),
        }
    }
    if found.is_empty() && root.is_captured() && !captured_without_frequencies(root) {
        return Err(root.absent(format!("{CPUS}/cpu0/cpufreq/scaling_governor")));
    }
    Ok(found.into_iter().map(|(name, cpus)| (name, cpus.into_iter().collect())).collect())
}

/// Whether a capture shows that its kernel sets no frequency: the folder for that, which the kernel makes in any case,
/// is there and names no CPU.
fn captured_without_frequencies(root: &Root) -> bool {
    let policies = root.names(format!("{CPUS}/cpufreq"));
    policies.is_ok_and(|names| !names.iter().any(|name| name.starts_with("policy")))
        && !root.path(format!("{CPUS}/cpu0/cpufreq")).exists()
}

/// One block a processor, `key : value` lines. x86 has `model name` and `flags`; arm64 has numbers for the
/// model, and `Features`.
fn parse(text: &str) -> CpuInfo {
    let mut models: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut features: Option<BTreeSet<&str>> = None;
    let (mut architecture, mut before) = (None, None);
    for block in text.split("\n\n") {
        let block = Block::of(block);
        let Some(cpu) = block.cpu else { continue };
        if let Some(model) = block.model() {
            models.entry(model).or_default().push(cpu);
        }
        // Mostly each CPU has the list of the one before it, of a hundred words and more.
        if before.replace(block.features) == Some(block.features) {
            continue;
        }
        let own: BTreeSet<&str> = block.features.map(|words| words.split_whitespace().collect()).unwrap_or_default();
        if own.contains("lm") {
            architecture = Some("x86_64");
        } else if own.contains("asimd") {
            architecture = Some("aarch64");
        }
        features = Some(match features {
            None => own,
            Some(before) => before.intersection(&own).copied().collect(),
        });
    }
    CpuInfo {
        architecture: architecture.map(str::to_owned),
        models: models.into_iter().map(|(name, cpus)| (name, cpus.into_iter().collect())).collect(),
        features: features.unwrap_or_default().into_iter().map(str::to_owned).collect(),
    }
}

/// What is looked for in one processor's lines.
#[derive(Default)]
struct Block<'a> {
    cpu: Option<u32>,
    name: Option<&'a str>,
    implementer: Option<&'a str>,
    part: Option<&'a str>,
    features: Option<&'a str>,
}

impl<'a> Block<'a> {
    fn of(text: &'a str) -> Self {
        let mut block = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key.trim_end() {
                "processor" => block.cpu = value.parse().ok(),
                "model name" => block.name = Some(value).filter(|name| !name.is_empty()),
                "CPU implementer" => block.implementer = Some(value),
                "CPU part" => block.part = Some(value),
                "flags" | "Features" => block.features = Some(value),
                _ => {}
            }
        }
        block
    }

    fn model(&self) -> Option<String> {
        let numbered = || Some(format!("implementer {} part {}", self.implementer?, self.part?));
        self.name.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ")).or_else(numbered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::root::tests::tree;

    const HYBRID: &str = "processor\t: 0\nmodel name\t: Big  Core\nflags\t\t: lm sha_ni avx512f\n\n\
                          processor\t: 2\nmodel name\t: Small Core\nflags\t\t: lm sha_ni\n\n";

    #[test]
    fn extensions_are_those_that_every_cpu_has() {
        let (_dir, root) = tree(&[("proc/cpuinfo", HYBRID)]);
        let info = info(&root).unwrap();
        assert_eq!(info.features, ["lm", "sha_ni"]);
        assert_eq!(info.models["Big Core"].to_string(), "0");
        assert_eq!(info.models["Small Core"].to_string(), "2");
        assert_eq!(info.architecture.as_deref(), Some("x86_64"));
    }

    #[test]
    fn arm_has_numbers_for_its_model() {
        let text = "processor\t: 0\nFeatures\t: fp asimd sha2\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n";
        let (_dir, root) = tree(&[("proc/cpuinfo", text), ("proc/sys/kernel/arch", "aarch64\n")]);
        let info = info(&root).unwrap();
        assert_eq!(info.models.keys().collect::<Vec<_>>(), ["implementer 0x41 part 0xd0c"]);
        assert_eq!((info.architecture.as_deref(), info.features.len()), (Some("aarch64"), 3));
    }

    #[test]
    fn a_text_about_no_processor_is_refused() {
        let (_dir, root) = tree(&[("proc/cpuinfo", "vendor_id : IBM/S390\n")]);
        assert!(info(&root).unwrap_err().to_string().contains("describes no processor"));
    }

    #[test]
    fn mixed_governors_are_told_apart_and_an_unreadable_one_is_missed() {
        let governor = |cpu: u32| format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        let (dir, root) =
            tree(&[(&governor(0), "performance\n"), (&governor(1), "powersave\n"), (&governor(10), "performance\n")]);
        std::fs::create_dir_all(dir.path().join(governor(3))).unwrap();
        let mut misses = Misses::default();
        let found = governors(&root, &mut misses).unwrap();
        assert_eq!(found["performance"].to_string(), "0,10");
        assert_eq!(found["powersave"].to_string(), "1");
        assert_eq!(misses.0[0].what, "governor of CPU 3");
    }

    #[test]
    fn a_capture_without_governors_says_so_only_where_they_would_be() {
        for (file, is_known) in [
            ("sys/devices/system/cpu/cpu0/uevent", false),
            ("sys/devices/system/cpu/cpu0/cpufreq/x", false),
            ("sys/devices/system/cpu/cpufreq/policy0/x", false),
            ("sys/devices/system/cpu/cpufreq/boost", true),
        ] {
            let (dir, _) = tree(&[(file, "1\n")]);
            let root = Root::captured(dir.path()).unwrap();
            assert_eq!(governors(&root, &mut Misses::default()).is_ok(), is_known, "{file}");
        }
    }

    #[test]
    fn a_guest_without_frequencies_has_no_governor() {
        let (_dir, root) =
            tree(&[("sys/devices/system/cpu/cpu0/uevent", ""), ("sys/devices/system/cpu/smt/control", "off\n")]);
        assert!(governors(&root, &mut Misses::default()).unwrap().is_empty());
        assert_eq!(smt(&root).unwrap(), "off");
    }
}
