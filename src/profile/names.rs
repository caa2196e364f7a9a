//! When a name in a row or a catalogue means the name that a machine tells.
//!
//! `"EPYC 7642"` is meant by `AMD EPYC 7642 48-Core Processor`; `"RTX 3080"` by `NVIDIA GeForce RTX 3080`, and not by
//! `GeForce RTX 3080 Ti`, which is another card.

/// Words that make another model of the one before them.
const VARIANTS: [&str; 7] = ["ti", "super", "ada", "laptop", "mobile", "max", "d"];

/// Whether the words of `short` stand in `full` one after another, and no word behind them makes another model.
pub(super) fn means(short: &str, full: &str) -> bool {
    let (short, full) = (words(short), words(full));
    if short.is_empty() {
        return false;
    }
    full.windows(short.len()).enumerate().any(|(at, window)| {
        let next = full.get(at + short.len());
        window == short && next.is_none_or(|next| !VARIANTS.contains(&next.as_str()))
    })
}

/// Lower-case runs of letters and of digits: `rtx3080` is `RTX 3080`. `+` stays, because `8480+` is not `8480`;
/// trademark signs go.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = Kind::Gap;
    for c in text.replace("(R)", " ").replace("(TM)", " ").chars() {
        let kind = Kind::of(c);
        if kind != Kind::Gap && kind != before {
            words.push(String::new());
        }
        if let (true, Some(word)) = (kind != Kind::Gap, words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
        before = kind;
    }
    words
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Letter,
    Digit,
    Gap,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            '0'..='9' | '+' => Self::Digit,
            c if c.is_ascii_alphabetic() => Self::Letter,
            _ => Self::Gap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::means;

    #[test]
    fn a_short_name_means_the_full_one_and_not_its_variants() {
        for (short, full) in [
            ("EPYC 7642", "AMD EPYC 7642 48-Core Processor"),
            ("RTX 3080", "NVIDIA GeForce RTX 3080"),
            ("Xeon Gold 6330", "Intel Xeon Gold 6330 CPU @ 2.00GHz"),
            ("rtx-3080", "GeForce RTX 3080"),
            ("EPYC 7F32", "epyc7f32"),
            ("Xeon Gold 6248R", "Intel(R) Xeon(R) Gold 6248R CPU @ 3.00GHz"),
        ] {
            assert!(means(short, full), "{short} {full}");
        }
        for (short, full) in [
            ("RTX 3080", "NVIDIA GeForce RTX 3080 Ti"),
            ("EPYC 7642", "AMD EPYC 7643 48-Core Processor"),
            ("Quadro RTX 6000", "RTX 6000 Ada Generation"),
            ("Xeon Platinum 8480", "Intel Xeon Platinum 8480+"),
            ("", "anything"),
        ] {
            assert!(!means(short, full), "{short} {full}");
        }
    }
}
