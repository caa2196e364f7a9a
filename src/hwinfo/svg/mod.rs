//! A machine as a picture: packages, nodes, caches, cores and CPUs as boxes in boxes, like `lstopo` draws them.
//!
//! ```text
//! Machine ─ plan ─► Block (boxes in boxes, sized and placed) ─ write ─► SVG text
//!                     └─ block: the arithmetic of placing, whole numbers of pixels
//! ```
//!
//! Always holds: a box lies inside the box around it, two boxes beside each other do not touch, every CPU has
//! exactly one box with its number. Numbers are the operating system's. The same machine gives the same bytes;
//! no font, script or file from elsewhere is needed to show it. Pure.

mod block;
mod plan;
mod write;

use crate::machine::Machine;

/// The picture of a machine as an SVG document.
pub fn picture(machine: &Machine) -> String {
    write::document(&plan::machine(machine), &machine.hostname)
}
