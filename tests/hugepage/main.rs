//! `store hugepage-…` on this machine: real pools, real mounts, real pages, all put back afterwards.
//!
//! ```text
//! rig        this machine lent to one test at a time, and what of it must be as it was
//! make       files, by the kernel's own account of where their pages lie
//! refuse     every refusal, with before = after
//! faults     every single change fails in turn; a stop at every look
//! kill       SIGKILL at random moments: the next run succeeds, no page is lost
//! together   two runs at once
//! release    what was made goes without a trace, and nothing else; every change fails in turn; SIGKILL
//! verify     what is wrong is found, and made anew or left
//! status     what is shown
//! persist    the unit, as systemd reads it
//! pc1        the engine that the files are for: the same layers, one task a file, free after a kill
//! ```
//!
//! Needs root and a writable /sys; what cannot be had is said on stderr and skipped. Pools stay below 1 GiB of 2 MiB
//! pages, and two of 1 GiB. DAMOCLES_SLOW=1 kills 200 times instead of 20; DAMOCLES_SEED replays a run's moments.

mod faults;
mod kill;
mod make;
mod pc1;
mod persist;
mod refuse;
mod release;
mod rig;
mod status;
mod together;
mod verify;
