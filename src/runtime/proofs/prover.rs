//! Who computes pc1's layers: our engine, unless the operator prefers the library.

use super::ProofsError;
use crate::{
    runtime::{
        pc1_numbers::{self, Told},
        sdr::{
            Engine,
            kernel::Kernel,
            memory::{AnonymousMemory, Memory, Pattern, Place, Pool},
            progress::{Progress, Watch},
            seats::Seats,
        },
    },
    units::ParseError,
};
use std::{
    fmt, fs,
    path::Path,
    str::FromStr,
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use storage_proofs_core::settings::SETTINGS;

const PC1: &str = "pc1";
/// The variables that choose, of the daemon or of the pc1 processor.
const PROVER: &str = "DAMOCLES_PC1_PROVER";
const SECTORS_PER_CORE: &str = "DAMOCLES_PC1_SECTORS_PER_CORE";
const HUGEPAGES: &str = "HUGEPAGE_FILES_PATH";
const HUGEPAGES_PATTERN: &str = "HUGEPAGE_FILES_PATH_PATTERN";
const REQUIRE_HUGEPAGES: &str = "DAMOCLES_PC1_REQUIRE_HUGEPAGES";
/// Between two lines in the log that say how far a sector is.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Who computes the layers. Named as in `hwinfo cpuset --prover`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pc1Prover {
    /// `runtime::sdr`.
    #[default]
    Own,
    /// The proofs library.
    Stock,
}

impl Pc1Prover {
    /// The name in variables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Stock => "stock",
        }
    }
}

impl fmt::Display for Pc1Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Pc1Prover {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Own, Self::Stock]
            .into_iter()
            .find(|prover| prover.name() == text)
            .ok_or_else(|| ParseError::new(text, "a prover of pc1", "own or stock"))
    }
}

/// How pc1 is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pc1Options {
    pub prover: Pc1Prover,
    /// 1, or 2 to hash two sectors side by side on one core. Of the first task in a process, as what follows.
    pub sectors_per_core: usize,
    /// Where hugepage files are.
    pub hugepages: Option<Pattern>,
    /// Whether a sector that cannot have them is refused.
    pub require_hugepages: bool,
}

impl Default for Pc1Options {
    fn default() -> Self {
        Self { prover: Pc1Prover::Own, sectors_per_core: 1, hugepages: None, require_hugepages: false }
    }
}

/// What the command line says, in place of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pc1Flags {
    pub hugepage_files_path: Option<String>,
    pub hugepage_files_path_pattern: Option<String>,
    pub require_hugepages: bool,
}

impl Pc1Options {
    /// What this process's variables say.
    pub fn from_env() -> Result<Self, ProofsError> {
        Self::from_flags(&Pc1Flags::default())
    }

    /// What these flags say, and this process's variables where they say nothing.
    pub fn from_flags(flags: &Pc1Flags) -> Result<Self, ProofsError> {
        Self::from_texts(flags, |name| std::env::var(name).ok())
    }

    fn from_texts(flags: &Pc1Flags, var: impl Fn(&str) -> Option<String>) -> Result<Self, ProofsError> {
        let given = |name| var(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let refuse = |variable: &str, what: String| ProofsError::Input {
            stage: PC1,
            what: format!("{variable}: {what}"),
            hint: "correct the variable of the daemon or of the pc1 processor, or leave it out",
        };
        let mut options = Self::default();
        if let Some(text) = given(PROVER) {
            options.prover = text.parse().map_err(|e: ParseError| refuse(PROVER, e.to_string()))?;
        }
        if let Some(text) = given(SECTORS_PER_CORE) {
            options.sectors_per_core = match text.as_str() {
                "1" => 1,
                "2" => 2,
                other => return Err(refuse(SECTORS_PER_CORE, format!("{other:?} is neither 1 nor 2"))),
            };
        }
        options.require_hugepages = match given(REQUIRE_HUGEPAGES).as_deref() {
            None | Some("0") => flags.require_hugepages,
            Some("1") => true,
            Some(other) => return Err(refuse(REQUIRE_HUGEPAGES, format!("{other:?} is neither 0 nor 1"))),
        };
        let path = flags.hugepage_files_path.clone().or_else(|| given(HUGEPAGES));
        let pattern = flags.hugepage_files_path_pattern.clone().or_else(|| given(HUGEPAGES_PATTERN));
        options.hugepages = Pattern::of(path.as_deref(), pattern.as_deref())
            .map_err(|e| refuse(&format!("{HUGEPAGES} or {HUGEPAGES_PATTERN}"), e.to_string()))?;
        if options.require_hugepages && options.hugepages.is_none() {
            let what =
                format!("hugepages are required, and neither {HUGEPAGES} nor {HUGEPAGES_PATTERN} says where they are");
            return Err(refuse(REQUIRE_HUGEPAGES, what));
        }
        Ok(options)
    }
}

/// Looks at what pc1 will work with, and tells of it, before the first task. Hugepages that are required and not there are
/// refused here already.
pub fn prepare_pc1(options: &Pc1Options) -> Result<(), ProofsError> {
    match (options.prover, &options.hugepages) {
        (Pc1Prover::Stock, None) => Ok(()),
        (Pc1Prover::Stock, Some(_)) => {
            tracing::warn!(
                "pc1: the proofs library takes no hugepage files: {PROVER}=stock and {HUGEPAGES} do not go together"
            );
            Ok(())
        }
        (Pc1Prover::Own, None) => {
            process(options);
            Ok(())
        }
        (Pc1Prover::Own, Some(pattern)) if process(options).files == 0 && options.require_hugepages => {
            Err(ProofsError::Input {
                stage: PC1,
                what: format!("hugepages are required, and no file below {pattern} can be used"),
                hint: "make files with `damocles-worker store hugepage-file-init`",
            })
        }
        (Pc1Prover::Own, Some(_)) => Ok(()),
    }
}

/// The engine of this process, and how many hugepage files it found.
struct Process {
    engine: Engine,
    files: usize,
}

/// The engine of this process: its sectors know of each other's cores.
pub(super) fn engine(options: &Pc1Options) -> &'static Engine {
    &process(options).engine
}

fn process(options: &Pc1Options) -> &'static Process {
    static PROCESS: OnceLock<Process> = OnceLock::new();
    PROCESS.get_or_init(|| {
        // The one folder that all processes of a machine have in common here; where it is not writable, cores are not
        // locked against other processes.
        let folder = Path::new(&SETTINGS.parent_cache);
        let locks = fs::create_dir_all(folder).is_ok().then(|| folder.to_owned());
        let seats = Seats::here(Kernel::best(), options.sectors_per_core, locks.clone());
        let pool = options.hugepages.clone().map(Pool::new);
        let loaded = pool.as_ref().map(|pool| pool.announce(seats.cpus())).unwrap_or_default();
        pc1_numbers::hugepage_files(loaded.iter().map(|file| file.node));
        let anonymous = AnonymousMemory::in_turns(locks);
        let memory = Memory { pool, required: options.require_hugepages, anonymous };
        Process { engine: Engine::new(seats, Box::new(memory)), files: loaded.len() }
    })
}

/// Tells the log once a minute, the metrics always, and hands everything on.
pub(super) struct Logged<'a> {
    watch: &'a dyn Watch,
    sector: u64,
    told: Mutex<(Instant, u32)>,
    numbers: Told<'static>,
}

impl<'a> Logged<'a> {
    pub(super) fn new(watch: &'a dyn Watch, sector: u64) -> Self {
        Self { watch, sector, told: Mutex::new((Instant::now(), 0)), numbers: pc1_numbers::begin(sector) }
    }
}

impl Watch for Logged<'_> {
    fn memory(&self, places: &[Place]) {
        self.numbers.memory(places);
        self.watch.memory(places);
    }

    fn progress(&self, progress: &Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let layer_ended = progress.done == progress.nodes && told.1 < progress.layer;
        if layer_ended || told.0.elapsed() >= LOG_EVERY {
            *told = (Instant::now(), if layer_ended { progress.layer } else { told.1 });
            tracing::info!(sector = self.sector, "pc1: {progress}");
        }
        self.numbers.progress(progress);
        self.watch.progress(progress);
    }

    fn stopped(&self) -> bool {
        self.watch.stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Pc1Options, ProofsError> {
        read_with(&Pc1Flags::default(), vars)
    }

    fn read_with(flags: &Pc1Flags, vars: &[(&str, &str)]) -> Result<Pc1Options, ProofsError> {
        Pc1Options::from_texts(flags, |name| {
            vars.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn variables_choose_and_what_they_cannot_mean_is_refused() {
        assert_eq!(read(&[]).unwrap(), Pc1Options::default());
        assert_eq!(read(&[(PROVER, ""), (SECTORS_PER_CORE, " "), (HUGEPAGES, "")]).unwrap(), Pc1Options::default());
        let chosen = Pc1Options { prover: Pc1Prover::Stock, sectors_per_core: 2, ..Pc1Options::default() };
        assert_eq!(read(&[(PROVER, "stock"), (SECTORS_PER_CORE, "2")]).unwrap(), chosen);
        let error = read(&[(PROVER, "Stock")]).unwrap_err();
        assert!(error.is_permanent());
        assert_eq!(
            error.to_string(),
            "pc1: DAMOCLES_PC1_PROVER: \"Stock\" is not a prover of pc1: own or stock; correct the variable of the \
             daemon or of the pc1 processor, or leave it out"
        );
        assert!(read(&[(SECTORS_PER_CORE, "3")]).unwrap_err().to_string().contains("\"3\" is neither 1 nor 2"));
    }

    #[test]
    fn flags_go_before_their_variables_and_the_pattern_before_the_path() {
        let shown = |options: Pc1Options| options.hugepages.map(|pattern| pattern.to_string());
        let path = [(HUGEPAGES, "/mnt/a")];
        assert_eq!(shown(read(&path).unwrap()).unwrap(), "/mnt/a/numa_$NUMA_NODE_INDEX");
        let flags = Pc1Flags { hugepage_files_path: Some("/mnt/b".into()), ..Pc1Flags::default() };
        assert_eq!(shown(read_with(&flags, &path).unwrap()).unwrap(), "/mnt/b/numa_$NUMA_NODE_INDEX");
        let pattern = [(HUGEPAGES_PATTERN, "/n$NUMA_NODE_INDEX")];
        assert_eq!(shown(read_with(&flags, &pattern).unwrap()).unwrap(), "/n$NUMA_NODE_INDEX");
        assert!(
            read(&[(HUGEPAGES_PATTERN, "/n")]).unwrap_err().to_string().contains("is not a folder of hugepage files")
        );
    }

    #[test]
    fn hugepages_are_required_where_it_is_said_and_only_with_a_place_for_them() {
        let here = (HUGEPAGES, "/mnt/a");
        assert!(read(&[here, (REQUIRE_HUGEPAGES, "1")]).unwrap().require_hugepages);
        assert!(!read(&[here, (REQUIRE_HUGEPAGES, "0")]).unwrap().require_hugepages);
        assert!(read(&[here, (REQUIRE_HUGEPAGES, "yes")]).is_err());
        let flags = Pc1Flags { require_hugepages: true, ..Pc1Flags::default() };
        assert!(read_with(&flags, &[here]).unwrap().require_hugepages);
        let error = read_with(&flags, &[]).unwrap_err().to_string();
        assert!(error.contains("neither HUGEPAGE_FILES_PATH nor HUGEPAGE_FILES_PATH_PATTERN says where"), "{error}");
    }
}
