//! Plan, provision and run Filecoin sealing on real hardware.
//!
//! ```text
//! bin ─► cli ─► { hwinfo  hugepage  planner  runtime } ─► { machine  worker_config } , sys ─► units
//! ```

pub mod cli;
pub mod hugepage;
pub mod hwinfo;
pub mod machine;
pub mod planner;
pub mod runtime;
pub mod sys;
pub mod units;
pub mod worker_config;
