//! Hugepage files for PC1: made whole on their node, proven, and taken back exactly.
//!
//! PC1 takes two blocks of the sector's size per task, from files in `…/numa_N/` of a hugetlbfs; the number in the folder's
//! name is all that tells it the node. So a file here is made whole or not at all, and bears that name only after the
//! kernel has said of every page that it lies there.
//!
//! ```text
//! Order ─ look ─► Facts ─ plan ─► Plan ─► Steps (as shell commands for --dry-run)
//!                                   │
//!                                init: record ─► mount ─► raise pools ─► allocate, staged ─► verify ─► publish ─► commit
//!                                   │ error, signal                                 crash: the next run does it
//!                                   └──────────────────► undo, by the record alone ◄──────────┘
//! ```
//!
//! | part | owns |
//! | --- | --- |
//! | `request` | what was asked for; names, patterns, pages of a size. Pure |
//! | `look` | the facts of this machine, and of what is there already |
//! | `mounts` | which mount a folder lies on, and what is refused as one. Pure but for the look at links |
//! | `plan` | facts and order → what is to be made, pool by pool, file by file. Pure |
//! | `steps` | a plan as steps, each with the shell command that would do the same. Pure |
//! | `pool` | one pool: what is missing, raised and read back, lowered by what was added; a shortfall in words |
//! | `files` | files filled with pages of a node, by threads of that node |
//! | `placement` | where the pages of a file lie, and whether that is where they should |
//! | `state` | the durable record of what this tool did on this machine since it was booted |
//! | `recover` | the way back: of an error, a signal, a crash |
//! | `init` | the order of it all |
//! | `config` | an order for every pc1 processor of a worker.toml |
//! | `begin` | how every command begins that changes something: alone, and with nothing half done left |
//! | `chosen` | which folders the commands around it are about, and what lies in them |
//! | `status` | all that can be seen |
//! | `verify` | whether files still are what they were made to be; `--repair`: a run that replaces the wrong ones |
//! | `release` | what goes again: decided |
//! | `foretell` | what a release would do and leave, for its dry run |
//! | `remove` | what is decided to go: carried out, as often as it takes |
//! | `persist` | the same after the next boot: a systemd unit, words for the kernel |
//! | `folders` | folders that get their names when the record knows them |
//! | `install` | that unit in systemd's folder, all of it or none |
//!
//! Always holds:
//! - before anything changes, the record says what is about to change, so that a killed run can be taken back;
//! - what the record names goes only if it is that very file or folder (device and inode);
//! - of what the record does not know, only files in a folder that was named on the command line are touched, and none that is
//!   in use: `release --path` removes those as long as their name says, `verify --repair` replaces those that are wrong;
//! - a pool is lowered by what was added to it, never below what is in use.

pub mod begin;
pub mod chosen;
pub mod config;
pub mod error;
pub mod files;
pub mod folders;
pub mod foretell;
pub mod init;
pub mod install;
pub mod look;
pub mod mounts;
pub mod persist;
pub mod placement;
pub mod plan;
pub mod pool;
pub mod recover;
pub mod release;
pub mod remove;
pub mod request;
pub mod state;
pub mod status;
pub mod steps;
pub mod verify;

pub use error::{InitError, Refusal};
pub use init::{Report, World, init, preview};
pub use request::{Order, Pattern, Target};
