//! The only user of the proofs library: stage tasks in, stage outputs out, keys and graphs kept trustworthy.
//!
//! ```text
//! add_pieces ─► staged ─ tree_d ─► tree-d ─ pc1 ─► layers ─ pc2 ─► sealed, tree-c, tree-r-last, p_aux, t_aux
//!                                                                     └ c1 ─► vanilla proofs ─ c2 ─► proof ─ verify_seal
//! ```
//!
//! The library is written for runs that are not interrupted: it gives files their full length and final
//! name first and their bytes later, and a later run loads whatever bears the name. So around it always
//! holds here: a name that the library would trust is given only to finished, synced bytes
//! (`tree_d`, `parent_cache`, `params`), and what it may have half written is removed before it is asked
//! again (`clean_before_pc2_again`). It also panics where others return errors: `guard` makes errors of both.

mod commit;
mod convert;
mod error;
mod guard;
mod own;
pub mod params;
mod parent_cache;
mod pieces;
mod precommit;
mod prover;
mod stamp;
mod tree_d;
mod unseal;

pub use commit::{c1, c2, verify_seal};
pub use error::ProofsError;
pub use parent_cache::{ensure_parent_cache, ensure_parent_cache_in};
pub use pieces::{add_pieces, comm_d, piece_commitment};
pub use precommit::{clean_before_pc2_again, pc1, pc1_with, pc2, remake_sealed};
pub use prover::{Pc1Flags, Pc1Options, Pc1Prover, prepare_pc1};
pub use stamp::Identity as FileIdentity;
pub use tree_d::tree_d;
pub use unseal::{UnsealTask, unseal_range, unseal_whole};
