//! Finds persistent stores in folders: each is a folder that holds a `sectorstore.json`.
//!
//! ```text
//! pattern ─► folders ─┬─ one with a sectorstore.json is a store
//!                     └─ else: its own folders that have one are
//! ```
//!
//! The file is the field's: `Name` (or `ID`, as older storage has it) is the name that worker and manager share, without
//! either it is the folder's path; `ReadOnly: true` and `CanStore: false` take no new sector; `AllowMiners` and
//! `DenyMiners` say whose sectors it takes, and denial wins. What else is in it is the manager's.

use serde::Deserialize;
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// The file that makes a folder a store.
pub const DESCRIPTION: &str = "sectorstore.json";
/// A description has a few hundred bytes.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// A store that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    pub readonly: bool,
    /// Empty: any but those denied.
    allowed_miners: Vec<u64>,
    denied_miners: Vec<u64>,
}

impl Found {
    /// Whether new sectors of this miner may be put there.
    pub fn takes(&self, miner: u64) -> bool {
        let allowed = self.allowed_miners.is_empty() || self.allowed_miners.contains(&miner);
        !self.readonly && allowed && !self.denied_miners.contains(&miner)
    }
}

/// Why stores could not be searched for.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("scan_persist_stores: {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("scan_persist_stores: {}: {what}", path.display())]
    Description { path: PathBuf, what: String },
    #[error("scan_persist_stores: {pattern:?}: {what}")]
    Pattern { pattern: PathBuf, what: &'static str },
    #[error("scan_persist_stores: {} and {} both have the name {name:?}: correct Name in one of their {DESCRIPTION}", first.display(), second.display())]
    SameName { name: String, first: PathBuf, second: PathBuf },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Description {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    read_only: bool,
    can_store: Option<bool>,
    allow_miners: Option<Vec<u64>>,
    deny_miners: Option<Vec<u64>>,
}

/// The stores that `patterns` lead to, by path, each once.
///
/// # Errors
/// A folder that cannot be read, a description that is none, two stores of one name.
pub fn scan(patterns: &[PathBuf]) -> Result<Vec<Found>, ScanError> {
    let mut stores: Vec<Found> = Vec::new();
    for pattern in patterns {
        for folder in folders(pattern)? {
            stores.extend(stores_of(&folder)?);
        }
    }
    stores.sort_by(|a, b| a.path.cmp(&b.path));
    stores.dedup_by(|a, b| a.path == b.path);
    for (index, store) in stores.iter().enumerate() {
        if let Some(first) = stores[..index].iter().find(|first| first.name == store.name) {
            let (first, second) = (first.path.clone(), store.path.clone());
            return Err(ScanError::SameName { name: store.name.clone(), first, second });
        }
    }
    Ok(stores)
}

/// The folder itself, where it is a store, or those of its folders that are.
fn stores_of(folder: &Path) -> Result<Vec<Found>, ScanError> {
    if let Some(store) = store_at(folder)? {
        return Ok(vec![store]);
    }
    let mut stores = Vec::new();
    for name in names(folder)? {
        let inner = folder.join(name);
        if inner.is_dir() {
            stores.extend(store_at(&inner)?);
        }
    }
    Ok(stores)
}

fn store_at(folder: &Path) -> Result<Option<Found>, ScanError> {
    let path = folder.join(DESCRIPTION);
    let failed = |source| ScanError::Read { path: path.clone(), source };
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bad = |what: String| ScanError::Description { path: path.clone(), what };
    if !meta.is_file() || meta.len() > DESCRIPTION_BYTES_MAX {
        return Err(bad("is no description of a store".into()));
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let folder = fs::canonicalize(folder).map_err(failed)?;
    described(&text, folder).map(Some).map_err(bad)
}

/// The store that `text` describes.
fn described(text: &str, folder: PathBuf) -> Result<Found, String> {
    if !text.trim_start().starts_with('{') {
        return Err("is no JSON object".into());
    }
    let written: Description = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let names = [written.name, written.id].into_iter().find(|name| !name.is_empty());
    let name = match names {
        Some(name) if name.trim().is_empty() || name.chars().any(char::is_control) => {
            return Err(format!("{name:?} is no name of a store"));
        }
        Some(name) => name,
        None => folder.to_str().ok_or("its path is not UTF-8: give it a Name")?.to_owned(),
    };
    Ok(Found {
        name,
        path: folder,
        readonly: written.read_only || written.can_store == Some(false),
        allowed_miners: written.allow_miners.unwrap_or_default(),
        denied_miners: written.deny_miners.unwrap_or_default(),
    })
}

/// The folders that a pattern names. Without a wildcard it is the folder, which has to be there.
fn folders(pattern: &Path) -> Result<Vec<PathBuf>, ScanError> {
    let mut found = vec![PathBuf::new()];
    let mut wild = false;
    for component in pattern.components() {
        let Component::Normal(part) = component else {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        let part = part.to_str().unwrap_or_default();
        if part.contains(['[', ']', '{', '}']) {
            let what = "accepted wildcards are * and ?, within one folder's name";
            return Err(ScanError::Pattern { pattern: pattern.to_owned(), what });
        }
        if !part.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        wild = true;
        let mut next = Vec::new();
        for folder in found.iter().filter(|folder| folder.as_os_str().is_empty() || folder.is_dir()) {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            next.extend(names(here)?.into_iter().filter(|name| matches(part, name)).map(|name| folder.join(name)));
        }
        found = next;
    }
    if !wild {
        return Ok(found);
    }
    Ok(found.into_iter().filter(|path| path.is_dir()).collect())
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, ScanError> {
    let failed = |source| ScanError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        // A name that is no text is no store's: it could not be told to a manager.
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Whether `name` is what `pattern` means: `*` is any text, `?` any letter; a leading dot has to be written.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                // The latest star takes one letter more.
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(root: &Path, folder: &str, text: &str) {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join(DESCRIPTION), text).unwrap();
    }

    fn found(root: &Path, patterns: &[&str]) -> Vec<(String, String)> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| root.join(pattern)).collect();
        let root = fs::canonicalize(root).unwrap();
        let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        scan(&patterns).unwrap().into_iter().map(|store| (store.name, relative(store.path))).collect()
    }

    #[test]
    fn stores_are_found_by_wildcard_in_a_folder_and_as_themselves() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), "disks/1", r#"{"ID": "123", "Name": "", "Meta": {}, "Weight": 0, "Strict": false}"#);
        store(dir.path(), "disks/2", r#"{"Name": "456", "PluginName": "x", "CanSeal": true}"#);
        fs::create_dir_all(dir.path().join("disks/3")).unwrap();
        fs::write(dir.path().join("disks/file"), "").unwrap();
        let both = [("123".to_owned(), "disks/1".to_owned()), ("456".to_owned(), "disks/2".to_owned())];
        assert_eq!(found(dir.path(), &["disks/*"]), both);
        assert_eq!(found(dir.path(), &["disks"]), both);
        assert_eq!(found(dir.path(), &["d?sks/1", "disks/[12]"][..1]), both[..1]);
        assert_eq!(found(dir.path(), &["disks/2", "disks/*", "disks"]), both, "each once");
        assert_eq!(found(dir.path(), &["none*", "disks/3"]), []);
    }

    #[test]
    fn a_store_without_a_name_goes_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path(), "a", "{}");
        let stores = scan(&[dir.path().join("a")]).unwrap();
        assert_eq!(Path::new(&stores[0].name), fs::canonicalize(dir.path().join("a")).unwrap());
        assert!(!stores[0].readonly && stores[0].takes(1000));
    }

    #[test]
    fn whose_sectors_a_store_takes_is_in_its_description() {
        let takes = |text: &str, miner| described(text, "/s".into()).unwrap().takes(miner);
        assert!(!takes(r#"{"Name": "a", "ReadOnly": true}"#, 1));
        assert!(!takes(r#"{"ID": "a", "CanStore": false}"#, 1));
        let policy = r#"{"Name": "a", "AllowMiners": [1, 2], "DenyMiners": [2]}"#;
        assert_eq!([1, 2, 3].map(|miner| takes(policy, miner)), [true, false, false]);
        assert!(takes(r#"{"Name": "a", "AllowMiners": null, "DenyMiners": []}"#, 3));
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "[]", "{", r#"{"Name": 7}"#, r#"{"Name": "a\nb"}"#, r#"{"Name": " "}"#] {
            store(dir.path(), "a", text);
            let error = scan(&[dir.path().join("a")]).unwrap_err().to_string();
            assert!(error.starts_with("scan_persist_stores: ") && error.contains("a/sectorstore.json: "), "{error}");
        }
        store(dir.path(), "a", r#"{"Name": "one"}"#);
        store(dir.path(), "b", r#"{"ID": "one"}"#);
        let error = scan(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("both have the name \"one\""), "{error}");
        assert!(matches!(scan(&[dir.path().join("gone")]), Err(ScanError::Read { .. })));
        assert!(matches!(scan(&[dir.path().join("[ab]")]), Err(ScanError::Pattern { .. })));
    }

    #[test]
    fn wildcards_mean_what_a_shell_means() {
        for (pattern, name, yes) in [
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*a*b", "xaxxab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("nvme*", "nvme12", true),
            ("?", "é", true),
            ("", "", true),
            ("**", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }
}
