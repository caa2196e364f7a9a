//! Who computes pc1's layers: our engine, unless the operator prefers the library.

use super::ProofsError;
use crate::{
    runtime::sdr::{
        Engine,
        kernel::Kernel,
        memory::AnonymousMemory,
        progress::{Progress, Watch},
        seats::Seats,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pc1Options {
    pub prover: Pc1Prover,
    /// 1, or 2 to hash two sectors side by side on one core. Of the first task in a process.
    pub sectors_per_core: usize,
}

impl Default for Pc1Options {
    fn default() -> Self {
        Self { prover: Pc1Prover::Own, sectors_per_core: 1 }
    }
}

impl Pc1Options {
    /// What this process's variables say.
    pub fn from_env() -> Result<Self, ProofsError> {
        Self::from_texts(std::env::var(PROVER).ok().as_deref(), std::env::var(SECTORS_PER_CORE).ok().as_deref())
    }

    fn from_texts(prover: Option<&str>, sectors_per_core: Option<&str>) -> Result<Self, ProofsError> {
        let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        let refuse = |variable: &str, what: String| ProofsError::Input {
            stage: PC1,
            what: format!("{variable}: {what}"),
            hint: "correct the variable of the daemon or of the pc1 processor, or leave it out",
        };
        let mut options = Self::default();
        if let Some(text) = given(prover) {
            options.prover = text.parse().map_err(|e: ParseError| refuse(PROVER, e.to_string()))?;
        }
        if let Some(text) = given(sectors_per_core) {
            options.sectors_per_core = match text.as_str() {
                "1" => 1,
                "2" => 2,
                other => return Err(refuse(SECTORS_PER_CORE, format!("{other:?} is neither 1 nor 2"))),
            };
        }
        Ok(options)
    }
}

/// The engine of this process: its sectors know of each other's cores.
pub(super) fn engine(options: &Pc1Options) -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // The one folder that all processes of a machine have in common here; where it is not writable, cores are not
        // locked against other processes.
        let folder = Path::new(&SETTINGS.parent_cache);
        let locks = fs::create_dir_all(folder).is_ok().then(|| folder.to_owned());
        let seats = Seats::here(Kernel::best(), options.sectors_per_core, locks);
        Engine::new(seats, Box::new(AnonymousMemory))
    })
}

/// Tells the log once a minute, and hands everything on.
pub(super) struct Logged<'a> {
    watch: &'a dyn Watch,
    sector: u64,
    told: Mutex<(Instant, u32)>,
}

impl<'a> Logged<'a> {
    pub(super) fn new(watch: &'a dyn Watch, sector: u64) -> Self {
        Self { watch, sector, told: Mutex::new((Instant::now(), 0)) }
    }
}

impl Watch for Logged<'_> {
    fn progress(&self, progress: &Progress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let layer_ended = progress.done == progress.nodes && told.1 < progress.layer;
        if layer_ended || told.0.elapsed() >= LOG_EVERY {
            *told = (Instant::now(), if layer_ended { progress.layer } else { told.1 });
            tracing::info!(sector = self.sector, "pc1: {progress}");
        }
        self.watch.progress(progress);
    }

    fn stopped(&self) -> bool {
        self.watch.stopped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_choose_and_what_they_cannot_mean_is_refused() {
        let read = |prover, sectors| Pc1Options::from_texts(prover, sectors);
        assert_eq!(read(None, None).unwrap(), Pc1Options::default());
        assert_eq!(read(Some(""), Some(" ")).unwrap(), Pc1Options::default());
        let chosen = Pc1Options { prover: Pc1Prover::Stock, sectors_per_core: 2 };
        assert_eq!(read(Some("stock"), Some("2")).unwrap(), chosen);
        let error = read(Some("Stock"), None).unwrap_err();
        assert!(error.is_permanent());
        assert_eq!(
            error.to_string(),
            "pc1: DAMOCLES_PC1_PROVER: \"Stock\" is not a prover of pc1: own or stock; correct the variable of the \
             daemon or of the pc1 processor, or leave it out"
        );
        assert!(read(None, Some("3")).unwrap_err().to_string().contains("\"3\" is neither 1 nor 2"));
    }
}
