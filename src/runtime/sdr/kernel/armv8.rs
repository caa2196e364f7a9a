//! Labels with the SHA-2 instructions of AArch64.
//!
//! As on x86-64, message schedules are kept for the blocks that come again, and parents are asked for a few nodes
//! ahead. The next node's header is left to the processor to find: no such machine was there to measure what
//! spreading it by hand would give. Checked under emulation only.

#![allow(unsafe_code)]

use super::{PREFETCH_NODES, Strand};
use crate::runtime::sdr::label::{BASE_PARENTS, LAST_WORD, Label, PARENTS};
use std::arch::{aarch64::*, asm};

/// Whether this processor has the instructions.
pub(super) fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("sha2")
}

/// Blocks of parents that differ from each other: of 14 and, in layer 1, of 6.
const FRESH: usize = PARENTS / 2;
const FRESH_FIRST: usize = BASE_PARENTS / 2;

const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
];

const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// The 16 words of a block.
type Message = [uint32x4_t; 4];
/// A block's message schedule with the round constants added.
type Schedule = [uint32x4_t; 16];

#[derive(Clone, Copy)]
struct State {
    abcd: uint32x4_t,
    efgh: uint32x4_t,
}

pub(super) fn advance(strand: &mut Strand, nodes: usize) {
    assert!(nodes <= strand.left());
    for _ in 0..nodes {
        // SAFETY: `Kernel` offers this kernel only where `available` says yes.
        strand.current[strand.next] = unsafe { label(strand) };
        strand.next += 1;
    }
}

#[target_feature(enable = "neon,sha2")]
fn label(strand: &Strand) -> Label {
    let node = strand.next;
    let mut state = State { abcd: four(&INITIAL, 0), efgh: four(&INITIAL, 1) };
    let number = (node as u64).to_be_bytes();
    let [high, low] = [0, 4].map(|at| u32::from_be_bytes(std::array::from_fn(|i| number[at + i])));
    let rest = [strand.layer, high, low, 0, 0, 0, 0, 0];
    block(&mut state, [four(&strand.replica.0, 0), four(&strand.replica.0, 1), four(&rest, 0), four(&rest, 1)]);
    if node == 0 {
        block(&mut state, two(&Label([0x8000_0000, 0, 0, 0, 0, 0, 0, 0]), &Label([0, 0, 0, 0, 0, 0, 0, 64 * 8])));
    } else {
        parents(strand, &mut state);
    }
    let mut label = Label::default();
    for (half, words) in [state.abcd, state.efgh].into_iter().zip(label.0.as_chunks_mut::<4>().0) {
        // SAFETY: four words are there.
        unsafe { vst1q_u32(words.as_mut_ptr(), half) };
    }
    label.0[7] &= LAST_WORD;
    label
}

/// The 19 blocks of parents.
#[inline]
#[target_feature(enable = "neon,sha2")]
fn parents(strand: &Strand, state: &mut State) {
    let mask = strand.nodes() - 1;
    prefetch(strand, (strand.next + PREFETCH_NODES) & mask);
    let numbers = strand.parents[strand.next].get();
    let of = |i: usize| {
        let layer = if i < BASE_PARENTS { &*strand.current } else { strand.previous.unwrap_or_default() };
        &layer[numbers[i] as usize & mask]
    };
    let fresh = if strand.previous.is_some() { FRESH } else { FRESH_FIRST };
    let mut schedules = [[vdupq_n_u32(0); 16]; FRESH];
    for (at, schedule) in schedules[..fresh].iter_mut().enumerate() {
        *schedule = expand(two(of(2 * at), of(2 * at + 1)));
        rounds(state, schedule);
    }
    for at in (0..fresh).cycle().take(18 - fresh) {
        rounds(state, &schedules[at]);
    }
    let end = Label([0x8000_0000, 0, 0, 0, 0, 0, 0, 64 * 8 + 37 * 256]);
    block(state, two(of(if strand.previous.is_some() { 8 } else { 0 }), &end));
}

/// Asks for the labels of a node's parents.
#[inline]
fn prefetch(strand: &Strand, node: usize) {
    let mask = strand.nodes() - 1;
    for (i, number) in strand.parents[node].get().into_iter().enumerate() {
        let layer = if i < BASE_PARENTS { Some(&*strand.current) } else { strand.previous };
        if let Some(layer) = layer {
            let label = &raw const layer[number as usize & mask];
            // SAFETY: a prefetch reads nothing that the program sees.
            unsafe { asm!("prfm pldl1keep, [{}]", in(reg) label, options(nostack, preserves_flags, readonly)) };
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn four(words: &[u32; 8], half: usize) -> uint32x4_t {
    // SAFETY: four words from the start of either half are there.
    unsafe { vld1q_u32(words.as_ptr().add(4 * (half & 1))) }
}

#[inline]
#[target_feature(enable = "neon")]
fn two(one: &Label, other: &Label) -> Message {
    [four(&one.0, 0), four(&one.0, 1), four(&other.0, 0), four(&other.0, 1)]
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn expand(mut m: Message) -> Schedule {
    let mut schedule = [vdupq_n_u32(0); 16];
    for (group, scheduled) in schedule.iter_mut().enumerate() {
        if group >= 4 {
            let part = vsha256su0q_u32(m[group % 4], m[(group + 1) % 4]);
            m[group % 4] = vsha256su1q_u32(part, m[(group + 2) % 4], m[(group + 3) % 4]);
        }
        // SAFETY: the 16 groups of four constants are there.
        let k = unsafe { vld1q_u32(K.as_ptr().add(4 * group)) };
        *scheduled = vaddq_u32(m[group % 4], k);
    }
    schedule
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn rounds(state: &mut State, schedule: &Schedule) {
    let before = *state;
    for scheduled in schedule {
        let abcd = state.abcd;
        state.abcd = vsha256hq_u32(abcd, state.efgh, *scheduled);
        state.efgh = vsha256h2q_u32(state.efgh, abcd, *scheduled);
    }
    state.abcd = vaddq_u32(state.abcd, before.abcd);
    state.efgh = vaddq_u32(state.efgh, before.efgh);
}

#[inline]
#[target_feature(enable = "neon,sha2")]
fn block(state: &mut State, message: Message) {
    rounds(state, &expand(message));
}
