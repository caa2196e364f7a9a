//! A set of logical CPUs by OS index, in the kernel's list form: `0-3,8`.

use super::ParseError;
use std::{collections::BTreeSet, fmt, str::FromStr};

/// CPU numbers beyond this are a typing error, not a machine: the kernel's own limit is 8192.
const CPU_MAX: u32 = 65_535;

/// A set of OS CPU indices. Prints ascending ranges (`0-3,8`), the form `cpuset.cpus` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuList(BTreeSet<u32>);

super::serde_as_string!(CpuList);

impl CpuList {
    /// The CPUs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }
    /// How many CPUs the set holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether the set holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether `cpu` is in the set.
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }
    /// The CPUs of this set that `other` lacks.
    pub fn minus(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
    /// The CPUs that both sets hold.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }
    /// The CPUs that either set holds.
    pub fn or(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for cpu in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => ranges.push((cpu, cpu)),
            }
        }
        for (i, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for CpuList {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse =
            |why: &str| ParseError::new(text, "a cpu list", format!("{why}; write cpus and ranges such as 0-3,8"));
        let cpu = |token: &str| -> Result<u32, ParseError> {
            let token = token.trim();
            match token.parse() {
                Ok(cpu) if cpu <= CPU_MAX && token.bytes().all(|b| b.is_ascii_digit()) => Ok(cpu),
                _ => Err(refuse(&format!("{token:?} is not a cpu number"))),
            }
        };
        let mut cpus = BTreeSet::new();
        // Counted, and not only collected: a range said over and over takes a second for every few kilobytes.
        let mut named = 0;
        if text.trim().is_empty() {
            return Ok(Self(cpus));
        }
        for token in text.trim().split(',') {
            match token.split_once('-') {
                None => {
                    cpus.insert(cpu(token)?);
                }
                Some((first, last)) => {
                    let (first, last) = (cpu(first)?, cpu(last)?);
                    if first > last {
                        return Err(refuse(&format!("the range {token:?} runs backwards")));
                    }
                    named += last - first + 1;
                    if named > 2 * (CPU_MAX + 1) {
                        return Err(refuse("its ranges name each cpu several times"));
                    }
                    cpus.extend(first..=last);
                }
            }
        }
        Ok(Self(cpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_list_form_parses() {
        let list: CpuList = "0-3, 8,10-11".parse().unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(list.to_string(), "0-3,8,10-11");
        assert!("".parse::<CpuList>().unwrap().is_empty());
        assert_eq!("0-65535,7,0-65535".parse::<CpuList>().unwrap().len(), 65_536);
    }

    #[test]
    fn what_is_not_a_list_is_refused_and_the_token_named() {
        for (text, token) in [
            ("0-", "\"\""),
            ("a", "\"a\""),
            ("3-1", "\"3-1\""),
            ("0,,1", "\"\""),
            ("+1", "\"+1\""),
            ("0-99999999", "99999999"),
            ("0-65535,0-65535,0-1", "several times"),
        ] {
            let error = text.parse::<CpuList>().unwrap_err().to_string();
            assert!(error.contains(token), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn printed_lists_parse_back(cpus in proptest::collection::btree_set(0u32..600, 0..80)) {
            let list = CpuList(cpus);
            prop_assert_eq!(list.to_string().parse::<CpuList>().unwrap(), list);
        }
    }
}
