//! Stage times out of logs: the table that operators make by hand with an editor's columns and a spreadsheet. Pure.
//!
//! ```text
//! line ─ stamp ─► when ─┐
//!      └ marks ─► what ─┴─► pair ─► tasks ─► table: stage, cores, at once, minutes, output an hour
//! ```
//!
//! Understood are benchy and rust-fil-proofs (start and finish of each phase), the processors of damocles-worker (request
//! received and done), our daemon's log, its answers (`--json` or text) and its journal. Whatever else a log says is
//! counted and told, and so is what has no beginning or no end.

mod line;
mod pair;
mod stamp;
mod table;

pub use line::{Mark, What, marks};
pub use pair::{Found, Task, read};
pub use stamp::stamp;
pub use table::{Line, table};

/// One log and its name.
#[derive(Clone, Debug)]
pub struct Log<'a> {
    pub name: &'a str,
    pub text: &'a str,
}
