//! Piece CIDs, one a line: what is read prints as it was written, in text and in JSON, and lines that differ are
//! different pieces.
#![no_main]

use damocles_worker::units::PieceCid;
use std::collections::BTreeMap;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut spelt: BTreeMap<PieceCid, &str> = BTreeMap::new();
    for line in text.lines() {
        let Ok(cid) = line.parse::<PieceCid>() else { continue };
        assert_eq!(cid.to_string(), line);
        let json = serde_json::to_string(&cid).expect("a CID is text");
        assert_eq!(serde_json::from_str::<PieceCid>(&json).expect("we wrote it"), cid);
        assert_eq!(*spelt.entry(cid).or_insert(line), line, "one piece, two spellings");
    }
});
