//! Pages and files that are named exist: links in Markdown, and `docs/….md` wherever it is written.

use crate::{
    assert_tidy,
    tree::{self, TextFile},
};
use std::path::{Path, PathBuf};

/// The paths, from the project's root, to which `file` points.
fn pointed_to(file: &TextFile) -> Vec<(usize, PathBuf)> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if file.path.ends_with(".md") {
            found.extend(links(line).map(|link| (index + 1, folder.join(link))));
        }
        found.extend(pages(line).map(|page| (index + 1, PathBuf::from(page))));
    }
    found
}

// `[text](target)`: targets that are files; not addresses, not places on the same page.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets =
        line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split_once(')').map(|(target, _)| target));
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    files.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty())
}

// `docs/name.md` at the beginning of a path.
fn pages(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    line.split(move |c| !is_name(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.starts_with("docs/") && word.ends_with(".md"))
}

fn broken(file: &TextFile, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let targets = pointed_to(file).into_iter().filter(|(_, target)| !exists(target));
    targets.map(|(line, target)| format!("{}: {} is not there", file.at(line), target.display())).collect()
}

#[test]
fn pages_that_are_named_exist() {
    // Examples in the rules' own tests point nowhere.
    let files = tree::text_files().into_iter().filter(|file| !file.path.starts_with("tests/tidy/"));
    assert_tidy(files.flat_map(|file| broken(&file, |target| tree::root().join(target).exists())).collect());
}

mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        broken(&TextFile::example(path, text), |target| target == Path::new("docs/there.md")).len()
    }

    #[test]
    fn a_link_to_nowhere_is_found_from_where_it_stands() {
        assert_eq!(findings("README.md", "[a](docs/gone.md)"), 2, "as a link and as a name");
        assert_eq!(findings("docs/a.md", "[a](gone.md)"), 1);
        assert_eq!(findings("src/a.rs", "/// Print it (docs/gone.md)"), 1);
    }

    #[test]
    fn what_is_there_and_what_is_elsewhere_is_not() {
        assert_eq!(findings("README.md", "[a](docs/there.md#part), see docs/there.md."), 0);
        assert_eq!(findings("docs/a.md", "[a](there.md) [b](#part) [c](https://example.org/docs/x.md)"), 0);
        assert_eq!(findings("src/a.rs", "let a = b[c](d);"), 0);
    }
}
