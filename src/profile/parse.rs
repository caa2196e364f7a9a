//! profile.toml into a `Profile` and back: shape first, then every figure that makes no sense, all at once.

use super::{Profile, Row, VERSION, Wait};
use serde::Deserialize;

/// Why a text is not a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or not of the contract's shape.
    #[error("not a profile: {0}")]
    Shape(Box<toml::de::Error>),
    /// Written by another version of the contract.
    #[error("profile of version {found}, this program reads version {VERSION}; write it again with this release")]
    Version { found: i64 },
    /// The shape is right, figures are not.
    #[error("profile with figures that cannot be: {}", .0.join("; "))]
    Figures(Vec<String>),
}

impl Profile {
    /// Reads profile.toml.
    ///
    /// # Errors
    /// Its shape, its version, or all figures that cannot be.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        #[derive(Deserialize)]
        struct Head {
            version: i64,
        }
        let shape = |error| ProfileError::Shape(Box::new(error));
        let Head { version } = toml::from_str(text).map_err(shape)?;
        if version != i64::from(VERSION) {
            return Err(ProfileError::Version { found: version });
        }
        let mut profile: Self = toml::from_str(text).map_err(shape)?;
        profile.own_rows = profile.rows.len();
        match profile.check() {
            wrong if wrong.is_empty() => Ok(profile),
            wrong => Err(ProfileError::Figures(wrong)),
        }
    }

    /// Writes the profile so that `parse` reads it back.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a profile has nothing that TOML cannot hold")
    }

    /// These measurements, and for what they do not tell `self`.
    #[must_use]
    pub fn overridden_by(&self, own: &Self) -> Self {
        let waits = own.waits.iter().chain(self.waits.iter().filter(|wait| own.wait(wait.name).is_none()));
        Self {
            version: VERSION,
            rows: own.rows.iter().chain(&self.rows).cloned().collect(),
            waits: waits.cloned().collect(),
            disks: own.disks.iter().chain(&self.disks).cloned().collect(),
            own_rows: own.rows.len() + self.own_rows,
        }
    }

    /// Every figure that cannot be; none in a profile that makes sense.
    pub fn check(&self) -> Vec<String> {
        let rows = self.rows.iter().zip(1..).flat_map(|(row, i)| {
            let place = format!("stage {i} ({} of {})", row.stage, row.sector_size);
            faults(row).into_iter().map(move |fault| format!("{place}: {fault}"))
        });
        let waits = self
            .waits
            .iter()
            .zip(1..)
            .flat_map(|(wait, i)| faults_of_wait(wait).into_iter().map(move |fault| format!("wait {i}: {fault}")));
        let disks = self
            .disks
            .iter()
            .zip(1..)
            .flat_map(|(disk, i)| faults_of_disk(disk).into_iter().map(move |fault| format!("disk {i}: {fault}")));
        rows.chain(waits).chain(disks).collect()
    }
}

fn faults(row: &Row) -> Vec<String> {
    let mut found = Vec::new();
    let times = [("minutes", row.minutes), ("minutes_ghz", row.minutes_ghz), ("core_seconds", row.core_seconds)];
    for (name, value) in times.into_iter().chain([("efficiency", row.efficiency)]) {
        if let Some(value) = value.filter(|value| !is_positive(*value)) {
            found.push(format!("{name} is {value}, a time is more than 0"));
        }
    }
    let told: Vec<_> = times.into_iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect();
    if told.len() > 1 {
        found.push(format!("{} tell the same thing, keep one", told.join(" and ")));
    }
    if row.efficiency.is_some() && row.minutes_ghz.is_none() {
        found.push("efficiency belongs to minutes_ghz, which is absent".to_owned());
    }
    for (name, value) in [("cores", row.cores), ("memory_threads", row.memory_threads)] {
        if value == Some(0) {
            found.push(format!("{name} is 0, a task has at least one"));
        }
    }
    if told.is_empty() && (row.cores.is_some() || row.band.is_some()) {
        found.push("cores and band belong to a duration, which is absent".to_owned());
    }
    if row.memory_per_thread.is_some() != row.memory_threads.is_some() {
        found.push("memory_per_thread and memory_threads come together".to_owned());
    }
    if let (Some(usual), Some(most)) = (row.memory, row.memory_most)
        && most < usual
    {
        found.push(format!("memory_most is {most}, less than memory, {usual}"));
    }
    found.extend(band_fault(row.band));
    found.extend(source_fault(&row.source));
    found
}

fn faults_of_wait(wait: &Wait) -> Vec<String> {
    let minutes = (wait.minutes < 0.0 || !wait.minutes.is_finite()).then(|| format!("minutes is {}", wait.minutes));
    minutes.into_iter().chain(band_fault(wait.band)).chain(source_fault(&wait.source)).collect()
}

fn faults_of_disk(disk: &super::DiskSpeed) -> Vec<String> {
    let random = [("reads_random", disk.reads_random), ("writes_random", disk.writes_random)];
    let random = random.into_iter().filter_map(|(name, speed)| Some((name, speed?)));
    let speeds = [("reads", disk.reads), ("writes", disk.writes)].into_iter().chain(random);
    let zero = speeds.filter(|(_, speed)| speed.0 == 0).map(|(name, _)| format!("{name} is 0 bytes a second"));
    let relative =
        disk.path.iter().filter(|path| !path.starts_with('/')).map(|path| format!("path {path:?} is not absolute"));
    zero.chain(relative).chain(source_fault(&disk.source)).collect()
}

fn band_fault(band: Option<super::Band>) -> Option<String> {
    let band = band?;
    let sound = is_positive(band.low) && band.low <= 1.0 && band.high >= 1.0 && band.high.is_finite();
    (!sound).then(|| format!("band is [{}, {}], it holds factors below and above 1", band.low, band.high))
}

fn source_fault(source: &str) -> Option<String> {
    source.trim().is_empty().then(|| "source is empty, say where the figures come from".to_owned())
}

fn is_positive(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "version = 1\n[[stage]]\nstage = \"pc1\"\nsector_size = \"32GiB\"\nsource = \"here\"\n";

    fn refused(more: &str) -> String {
        Profile::parse(&format!("{ROW}{more}")).unwrap_err().to_string()
    }

    #[test]
    fn a_profile_reads_back_as_it_was_written() {
        let shipped = Profile::shipped();
        let again = Profile::parse(&shipped.to_toml()).unwrap();
        assert_eq!((again.rows, again.waits, again.disks), (shipped.rows, shipped.waits, shipped.disks));
    }

    #[test]
    fn figures_that_cannot_be_are_refused_all_at_once() {
        for (more, expected) in [
            ("minutes = 0", "minutes is 0, a time is more than 0"),
            ("minutes = -3", "minutes is -3"),
            ("minutes = nan", "minutes is NaN"),
            ("minutes = 1\ncore_seconds = 2", "tell the same thing"),
            ("minutes = 1\ncores = 0", "cores is 0"),
            ("efficiency = 0.5", "efficiency belongs to minutes_ghz"),
            ("minutes = 1\nband = [1.1, 1.2]", "band is [1.1, 1.2]"),
            ("memory_per_thread = \"1GiB\"", "come together"),
            ("memory = \"2GiB\"\nmemory_most = \"1GiB\"", "memory_most is 1GiB"),
            ("cores = 2", "belong to a duration"),
        ] {
            let error = refused(more);
            assert!(error.contains(expected) && error.contains("stage 1 (pc1 of 32GiB)"), "{more}: {error}");
        }
        let slow = "[[disk]]\nkind = \"nvme\"\nreads = \"0\"\nwrites = \"1GiB\"\nsource = \"x\"";
        assert!(refused(slow).contains("disk 1: reads is 0 bytes a second"));
        let random = slow.replace("reads = \"0\"", "reads = \"1\"\npath = \"x\"\nwrites_random = \"0\"");
        assert!(
            refused(&random).contains("disk 1: writes_random is 0 bytes a second; disk 1: path \"x\" is not absolute")
        );
        let wait = "[[wait]]\nname = \"seed\"\nminutes = -1\nsource = \"x\"";
        assert!(refused(wait).contains("wait 1: minutes is -1"));
        let error = refused("minutes = 0\ncores = 0");
        assert!(error.contains("minutes is 0") && error.contains("cores is 0"), "{error}");
    }

    #[test]
    fn what_is_not_a_profile_is_refused() {
        for (text, expected) in [
            ("", "version"),
            ("version = 2", "version 2"),
            ("version = 1\n[[stage]]\nstage = \"pc9\"", "pc9"),
            ("version = 1\nminute = 1", "minute"),
        ] {
            let error = Profile::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(refused("minuts = 1").contains("minuts"), "a typing error is not passed over");
        assert!(refused("memory = \"lots\"").contains("is not a size"));
        let unsourced = Profile::parse(&ROW.replace("here", " ")).unwrap_err().to_string();
        assert!(unsourced.contains("source is empty"), "{unsourced}");
    }
}
