//! A machine as an entry of a fleet file, in TOML, read back before it is given away.

use crate::machine::{Fleet, Machine, Spec};

/// A specification that would not say what the machine is: a mistake of this program's.
#[derive(Debug, thiserror::Error)]
#[error("write {hostname} as a machine of a fleet: {reason}; use --json instead")]
pub struct SpecError {
    hostname: String,
    reason: String,
}

/// `[[machine]]` with the machine's shape.
pub fn fleet_toml(machine: &Machine) -> Result<String, SpecError> {
    let fail = |reason: String| SpecError { hostname: machine.hostname.clone(), reason };
    let fleet = Fleet { machine: vec![Spec::of(machine)] };
    let text = ::toml::to_string(&fleet).map_err(|error| fail(error.to_string()))?;
    match ::toml::from_str::<Fleet>(&text) {
        Ok(again) if again == fleet => Ok(text),
        Ok(_) => Err(fail("it reads back as another machine".to_owned())),
        Err(error) => Err(fail(error.message().to_owned())),
    }
}
