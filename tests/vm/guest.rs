//! A guest: described, booted once, asked everything, gone.
//!
//! qemu emulates the processor (no KVM, so it runs anywhere, as anybody). The kernel's console goes to the first
//! serial port and the answers to the second. Nothing in the guest needs a module, and nothing of the host is visible
//! in it.

use crate::{
    archive::Archive,
    script::{Answers, Script},
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A boot takes 3 to 10 seconds; on a host that is busy building, some times that.
const PATIENCE: Duration = Duration::from_secs(240);
const QEMU: &str = "qemu-system-x86_64";

/// qemu's TCG drops the AMD topology leaves of `-cpu EPYC-*`, and Linux then sees one L3 per package. The plain
/// model with the leaves forced on shows one L3 per die.
pub const AMD: &str = "max,x-force-features=on,vendor=AuthenticAMD,family=25,model=1,stepping=1,topoext=on,\
                       xlevel=0x8000001e,model-id=AMD EPYC (emulated)";

/// A machine to be.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// A `-cpu` of qemu.
    pub cpu: &'static str,
    /// Packages, dies in each, cores in each, threads in each.
    pub shape: [u32; 4],
    /// MiB and CPUs of each node; `""` for a node without CPUs.
    pub nodes: &'static [(u32, &'static str)],
    /// From a node to another: one's own memory is 10, any other 20 unless it is said here.
    pub distances: &'static [(u32, u32, u32)],
    /// CPUs that are switched off before anybody looks.
    pub offline: &'static [u32],
    /// Hugepages to be had on a node: the node, the page's KiB, how many. The kernel may grant fewer.
    pub pages: &'static [(u32, u32, u32)],
    /// The CPUs and the nodes of the cgroup (version 2) that steps run in; none: no cgroups are mounted at all.
    pub cgroup: Option<(&'static str, &'static str)>,
    /// More words for the kernel's command line.
    pub boot: &'static str,
}

impl Default for Guest {
    /// Four CPUs in two packages, each with its memory.
    fn default() -> Self {
        Self {
            cpu: "max",
            shape: [2, 1, 2, 1],
            nodes: &[(512, "0-1"), (512, "2-3")],
            distances: &[],
            offline: &[],
            pages: &[],
            cgroup: None,
            boot: "",
        }
    }
}

/// Which runs of the suite a story is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// Only where `DAMOCLES_SLOW=1` asks for it (`make test-slow`).
    Slow,
}

/// Boots the guest and asks it; `None`, and a word why, where that is not to be or cannot be done here.
pub fn ask(name: &str, when: When, guest: &Guest, script: &Script) -> Option<Answers> {
    if when == When::Slow && std::env::var("DAMOCLES_SLOW").as_deref() != Ok("1") {
        tell(&format!("skipped guest {name}: run with DAMOCLES_SLOW=1 (make test-slow)"));
        return None;
    }
    let began = Instant::now();
    match guest.answers(script) {
        Ok(answers) => {
            tell(&format!("guest {name}: {:.1} s", began.elapsed().as_secs_f32()));
            Some(answers)
        }
        Err(reason) => {
            tell(&format!("skipped guest {name}: {reason}"));
            None
        }
    }
}

impl Guest {
    fn answers(&self, script: &Script) -> Result<Answers, String> {
        let kernel = kernel()?;
        let folder = tempfile::tempdir().unwrap();
        let initrd = folder.path().join("initrd");
        fs::write(&initrd, self.archive(&kernel, script)).unwrap();
        let began = Instant::now();
        let mut qemu = self.qemu(&kernel, &initrd, folder.path());
        let mut process = Running(qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        while process.0.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = |name: &str| fs::read(folder.path().join(name)).unwrap_or_default();
        let told = |name: &str| String::from_utf8_lossy(&said(name)).into_owned();
        let answers = Answers::parse(&said("answers"));
        Ok(answers.unwrap_or_else(|| {
            panic!("the guest did not finish: {}\n{}\n{}", told("answers"), told("console"), told("qemu.log"))
        }))
    }

    fn archive(&self, kernel: &Path, script: &Script) -> Vec<u8> {
        let mut archive = Archive::default();
        ["dev", "proc", "sys", "bin", "tmp"].iter().for_each(|folder| archive.folder(folder));
        archive.program("bin/busybox", &fs::read(kernel.join("busybox")).unwrap());
        script.pack(self, &mut archive);
        archive.finish()
    }

    fn qemu(&self, kernel: &Path, initrd: &Path, folder: &Path) -> Command {
        // setpriv: a test that is killed takes its guest with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]);
        // One thread emulates all CPUs: with several, this qemu (7.2) now and then loops for ever in a boot.
        command.args(["-accel", "tcg,thread=single,tb-size=256", "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-no-reboot", "-M", "pc,usb=off,vmport=off"]).args(self.hardware());
        command.arg("-kernel").arg(kernel.join("vmlinux")).arg("-initrd").arg(initrd);
        // lpj: without it each CPU measures its speed anew, seconds each.
        let boot = "console=ttyS0 loglevel=4 panic=-1 rdinit=/init mitigations=off random.trust_cpu=on \
                    cryptomgr.notests rcupdate.rcu_expedited=1 audit=0 apparmor=0 8250.nr_uarts=2 tsc=reliable \
                    no_timer_check lpj=10000000";
        command.args(["-append", &format!("{boot} {}", self.boot)]);
        for port in ["console", "answers"] {
            command.args(["-serial", &format!("file:{}", folder.join(port).display())]);
        }
        // What qemu cannot emulate of a processor it says on stderr, feature by feature.
        command.stderr(fs::File::create(folder.join("qemu.log")).unwrap());
        command
    }

    /// CPUs, memory and distances, as qemu is told of them.
    fn hardware(&self) -> Vec<String> {
        let [packages, dies, cores, threads] = self.shape;
        let cpus = packages * dies * cores * threads;
        let memory: u32 = self.nodes.iter().map(|(mib, _)| mib).sum();
        let mut words = vec!["-cpu".to_owned(), self.cpu.to_owned(), "-m".to_owned(), format!("{memory}M")];
        let mut say = |option: &str, value: String| words.extend([option.to_owned(), value]);
        say("-smp", format!("{cpus},sockets={packages},dies={dies},cores={cores},threads={threads}"));
        for (i, (mib, cpus)) in self.nodes.iter().enumerate() {
            let ranges = cpus.split(',').filter(|range| !range.is_empty());
            let cpus: String = ranges.map(|range| format!(",cpus={range}")).collect();
            say("-object", format!("memory-backend-ram,id=memory{i},size={mib}M"));
            say("-numa", format!("node,nodeid={i},memdev=memory{i}{cpus}"));
        }
        for (from, to, distance) in self.distances {
            say("-numa", format!("dist,src={from},dst={to},val={distance}"));
        }
        words
    }
}

/// A process that does not outlive its story.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder with the kernel and busybox, where `scripts/vm-kernel` puts them.
fn kernel() -> Result<PathBuf, String> {
    let has_qemu = Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_qemu {
        return Err(format!("{QEMU} is not there (scripts/setup tests)"));
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folder = cache.ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("damocles-vm");
    let is_there = ["vmlinux", "busybox", "version"].iter().all(|name| folder.join(name).is_file());
    if is_there { Ok(folder) } else { Err(format!("no kernel in {} (scripts/vm-kernel)", folder.display())) }
}

/// Past the test harness, which keeps what passing tests print.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
