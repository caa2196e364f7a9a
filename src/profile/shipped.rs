//! The rows that come with the program, read from the files in `data/`.

use super::Profile;
use std::sync::LazyLock;

const FILES: [&str; 5] = [
    include_str!("data/small.toml"),
    include_str!("data/gib32.toml"),
    include_str!("data/gib64.toml"),
    include_str!("data/waits.toml"),
    include_str!("data/disks.toml"),
];

static SHIPPED: LazyLock<Profile> = LazyLock::new(|| {
    let mut all =
        Profile { version: super::VERSION, rows: Vec::new(), waits: Vec::new(), disks: Vec::new(), own_rows: 0 };
    for text in FILES {
        let file = Profile::parse(text).expect("a shipped file is a profile: a test reads each");
        all.rows.extend(file.rows);
        all.waits.extend(file.waits);
        all.disks.extend(file.disks);
    }
    all
});

impl Profile {
    /// The profile that comes with the program.
    pub fn shipped() -> Self {
        SHIPPED.clone()
    }
}
