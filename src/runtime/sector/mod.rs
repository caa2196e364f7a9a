//! One sector's life as pure data: where it stands, what comes next, what an event makes of it.
//!
//! ```text
//! Empty ─► Allocated ─► DealsAcquired ─► PieceAdded ─► TreeDBuilt ─► TicketAssigned ─► PC1Done ─► PC2Done
//!   ▲                                                                                                │
//!   │      PersistanceSubmitted ◄─ Persisted ◄─ PCLanded ◄─ PCSubmitted ◄─────────────────────────────┘
//!   │                │                                          │ the message failed: again, with reset
//!   │                ▼                                          └──────► PC2Done
//!   │          SeedAssigned ─► C1Done ─► C2Done ─► ProofSubmitted ─► Finished ─┐
//!   │                                      ▲────────────┘ likewise             │
//!   └──────────────────────────── files dropped ◄──────────── Aborted ◄─ any ──┘
//! ```
//!
//! `decide` says what to do, `apply` alone makes the new record. `back` is where an operator may send a sector back to. No threads, no files; `now` is an argument.

mod apply;
mod back;
pub mod deals;
mod decide;
mod event;
mod failure;
mod record;
mod state;

pub use apply::{Impossible, apply};
pub use back::legal;
pub use decide::{Action, decide, unasked};
pub use event::Event;
pub use failure::{Failure, Level};
pub use record::Record;
pub use state::State;
