//! The known word that a typing error was probably meant to be.

/// The candidate nearest to `word`, if it is near enough to be meant. The first of equals wins.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of the letters may be wrong; beyond that a suggestion misleads more than it helps.
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete or replace to get from `a` to `b`; a swap of neighbours counts once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Known words are short: a huge key in a hostile file must not cost its length squared.
    if a.len() > b.len() + 3 {
        return usize::MAX;
    }
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j - 1] + differs).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word() {
        for (slip, meant) in [
            ("pcl", "pc1"),
            ("embeded", "embedded"),
            ("Embedded", "embedded"),
            ("loaction", "location"),
            ("lock", "locks"),
        ] {
            let known = ["pc1", "location", "locks", "embedded", "concurrent"];
            assert_eq!(nearest(slip, known), Some(meant), "{slip}");
        }
    }

    #[test]
    fn a_stranger_finds_none() {
        let huge = "x".repeat(1 << 20);
        for word in ["", "colour", "http", huge.as_str()] {
            assert_eq!(nearest(word, ["pc1", "location"]), None);
        }
    }
}
