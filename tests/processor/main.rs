//! External processors as real child processes: ours, ours that pretend, and strangers written in sh.
//!
//! ```text
//! wire     our `processor` under anybody's daemon, byte for byte      answers  any order, stray lines, nonsense
//! falls    death in the middle, restarts, children that never begin   fair     one GPU for two stages under load
//! place    environment, TMPDIR, cpusets and their refusals            stop     ends in order, and after a kill -9
//! ```
//!
//! Nothing here makes a Groth16 proof. What needs rights or a cgroup hierarchy says what it skipped where they are not.

mod answers;
mod fair;
mod falls;
mod helpers;
mod place;
mod rig;
mod stop;
mod wire;
