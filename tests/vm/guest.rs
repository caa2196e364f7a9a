//! A guest: described, booted once, asked everything, gone.
//!
//! qemu emulates the processor (no KVM, so it runs anywhere, as anybody). The kernel's console goes to the first
//! serial port and the answers to the second, in sections that begin with a mark. Nothing in the guest needs a
//! module, and nothing of the host is visible in it.

use crate::archive::Archive;
use assert_cmd::cargo::cargo_bin;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A boot takes 3 to 10 seconds; on a host that is busy building, some times that.
const PATIENCE: Duration = Duration::from_secs(240);
const MARK: &str = "=====";
const QEMU: &str = "qemu-system-x86_64";

/// qemu's TCG drops the AMD topology leaves of `-cpu EPYC-*`, and Linux then sees one L3 per package. The plain
/// model with the leaves forced on shows one L3 per die.
pub const AMD: &str = "max,x-force-features=on,vendor=AuthenticAMD,family=25,model=1,stepping=1,topoext=on,\
                       xlevel=0x8000001e,model-id=AMD EPYC (emulated)";

/// A machine to be.
pub struct Guest {
    /// A `-cpu` of qemu.
    pub cpu: &'static str,
    /// Packages, dies in each, cores in each, threads in each.
    pub shape: [u32; 4],
    /// MiB and CPUs of each node; `""` for a node without CPUs.
    pub nodes: &'static [(u32, &'static str)],
    /// CPUs that are switched off before anybody looks.
    pub offline: &'static [u32],
}

/// What a guest said.
pub struct Answers {
    /// What each command printed, and its exit code.
    sections: BTreeMap<String, String>,
    /// The guest's /sys.
    pub files: BTreeMap<String, String>,
    pub seconds: f32,
}

impl Answers {
    /// What a command printed, or the file of the guest's /sys.
    pub fn get(&self, name: &str) -> &str {
        let found = self.sections.get(name).or_else(|| self.files.get(name));
        found.unwrap_or_else(|| panic!("the guest did not say {name}: it said {:?}", self.files.keys()))
    }

    /// The files whose path begins so.
    pub fn files<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let files = self.files.iter().filter(move |(path, _)| path.starts_with(beginning));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

impl Guest {
    /// Boots the guest and asks it; or why that cannot be done here.
    pub fn ask(&self) -> Result<Answers, String> {
        let kernel = kernel()?;
        let folder = tempfile::tempdir().unwrap();
        let initrd = folder.path().join("initrd");
        fs::write(&initrd, self.archive(&kernel)).unwrap();
        let began = Instant::now();
        let mut qemu = self.qemu(&kernel, &initrd, folder.path());
        let mut process = Running(qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        while process.0.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
        let console = fs::read(folder.path().join("console")).unwrap_or_default();
        let answers = fs::read_to_string(folder.path().join("answers")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        assert!(answers.ends_with(&format!("{MARK} end\n")), "the guest did not finish: {answers}\n{console}");
        let sections = sections(&answers);
        Ok(Answers { files: files(&sections["sys"]), sections, seconds: began.elapsed().as_secs_f32() })
    }

    fn archive(&self, kernel: &Path) -> Vec<u8> {
        let mut archive = Archive::default();
        ["dev", "proc", "sys", "bin", "tmp"].iter().for_each(|folder| archive.folder(folder));
        archive.program("bin/busybox", &fs::read(kernel.join("busybox")).unwrap());
        archive.linked_program("bin/damocles-worker-util", &cargo_bin("damocles-worker-util"));
        archive.program("init", self.init().as_bytes());
        archive.finish()
    }

    /// What the guest does: set itself up, answer, switch itself off.
    fn init(&self) -> String {
        let mut script = String::from(
            "#!/bin/busybox sh\n\
             /bin/busybox --install -s /bin\n\
             export PATH=/bin HOME=/tmp NO_COLOR=1\n\
             mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys\n\
             hostname guest\n\
             stty -F /dev/ttyS1 raw\n\
             exec >/dev/ttyS1\n",
        );
        for cpu in self.offline {
            writeln!(script, "echo 0 > /sys/devices/system/cpu/cpu{cpu}/online").unwrap();
        }
        for (name, command) in [("json", "hwinfo --json"), ("tree", "hwinfo"), ("picture", "hwinfo --svg -")] {
            // The exit code is a section of its own; talk goes to the console, where a failure shows it.
            writeln!(script, "echo '{MARK} {name}'; damocles-worker-util {command}; code=$?").unwrap();
            writeln!(script, "echo '{MARK} {name} code'; echo $code").unwrap();
        }
        let cpu = "/sys/devices/system/cpu";
        let node = "/sys/devices/system/node";
        // One process for all files: hundreds of `cat`s would take longer than the boot.
        writeln!(
            script,
            "echo '{MARK} sys'; grep '' {cpu}/online {cpu}/offline {cpu}/smt/active {cpu}/cpu*/topology/*_list \
             {cpu}/cpu*/cache/index*/level {cpu}/cpu*/cache/index*/size {cpu}/cpu*/cache/index*/shared_cpu_list \
             {node}/online {node}/node*/cpulist {node}/node*/meminfo {node}/node*/distance\n\
             echo '{MARK} end'\n\
             poweroff -f"
        )
        .unwrap();
        script
    }

    fn qemu(&self, kernel: &Path, initrd: &Path, folder: &Path) -> Command {
        let [packages, dies, cores, threads] = self.shape;
        let cpus = packages * dies * cores * threads;
        let memory: u32 = self.nodes.iter().map(|(mib, _)| mib).sum();
        // setpriv: a test that is killed takes its guest with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]);
        // One thread emulates all CPUs: with several, this qemu (7.2) now and then loops for ever in a boot.
        command.args(["-accel", "tcg,thread=single,tb-size=256", "-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-no-reboot", "-M", "pc,usb=off,vmport=off", "-cpu", self.cpu, "-m", &format!("{memory}M")]);
        command.args(["-smp", &format!("{cpus},sockets={packages},dies={dies},cores={cores},threads={threads}")]);
        for (i, (mib, cpus)) in self.nodes.iter().enumerate() {
            let cpus: String =
                cpus.split(',').filter(|range| !range.is_empty()).map(|r| format!(",cpus={r}")).collect();
            command.args(["-object", &format!("memory-backend-ram,id=memory{i},size={mib}M")]);
            command.args(["-numa", &format!("node,nodeid={i},memdev=memory{i}{cpus}")]);
        }
        command.arg("-kernel").arg(kernel.join("vmlinux")).arg("-initrd").arg(initrd);
        // lpj: without it each CPU measures its speed anew, seconds each.
        command.args([
            "-append",
            "console=ttyS0 loglevel=4 panic=-1 rdinit=/init mitigations=off random.trust_cpu=on cryptomgr.notests \
             rcupdate.rcu_expedited=1 audit=0 apparmor=0 8250.nr_uarts=2 tsc=reliable no_timer_check lpj=10000000",
        ]);
        for port in ["console", "answers"] {
            command.args(["-serial", &format!("file:{}", folder.join(port).display())]);
        }
        // What qemu cannot emulate of a processor it says on stderr, feature by feature.
        command.stderr(fs::File::create(folder.join("qemu.log")).unwrap());
        command
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

/// The text after each mark, by the name on the mark.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mark = format!("{MARK} ");
    let sections = text.split(&mark).skip(1).filter_map(|section| section.split_once('\n'));
    sections.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

/// Files from `path:line` lines.
fn files(text: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (path, line) in text.lines().filter_map(|line| line.split_once(':')) {
        let file = files.entry(path.to_owned()).or_default();
        file.push_str(line);
        file.push('\n');
    }
    files
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

/// Whether the long stories were asked for.
pub fn is_slow_run() -> bool {
    std::env::var("DAMOCLES_SLOW").as_deref() == Ok("1")
}

/// Past the test harness, which keeps what passing tests print.
pub fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn answers_are_cut_at_their_marks() {
    let found = sections("noise\n===== json\n{\n}\n===== sys\n/sys/a:0-3\n/sys/b:\n/sys/b:x: y\n===== end\n");
    assert_eq!((found["json"].as_str(), found["end"].as_str()), ("{\n}\n", ""));
    let files = files(&found["sys"]);
    assert_eq!((files["/sys/a"].as_str(), files["/sys/b"].as_str()), ("0-3\n", "\nx: y\n"));
}
