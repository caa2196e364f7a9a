//! Labels with the SHA instructions of x86-64.
//!
//! Two rounds take four cycles and wait for the two before: a node's 20 blocks are one chain of 640 such pairs,
//! and nothing makes a link shorter. What can be done is to keep everything else off the chain:
//!
//! ```text
//! one sector    … header │ 7 parent blocks, schedules made and kept │ 11 from kept schedules │ last │ 7 …
//!                                                                     └ beside them the next node's header
//!
//! two sectors   x  header │ 7 making schedules      │ 2 kept ║ 9 kept              │ last ║ header …
//!               y  9 kept                           │ last   ║ header │ 7 making … │ 2    ║ 9 kept …
//! ```
//!
//! - **Schedules are kept.** The same parents come up to three times, so 11 of the 20 blocks (in layer 1: 15) need
//!   no message schedule at all: one load for two rounds.
//! - **The next node's header**, the only block that does not need this node's label, is computed beside this
//!   node's kept blocks, a few rounds at a time: 19 blocks are left on the chain. In graphs of version 1.0 the node
//!   before is the sixth parent, and two more blocks could go early; since version 1.1 it is the first parent, so
//!   that hashing cannot begin early.
//! - **Labels are words**, so nothing is swapped.
//! - **Parents are asked for a few nodes ahead,** one or two between any two blocks. All at once they would wait for
//!   the page walker together, and the chain with them: 730 instead of 695 ns a node, measured with 512 MiB.
//! - **Two sectors** go half a node apart, so that one makes schedules while the other needs none.

#![allow(unsafe_code)]

mod blocks;

use self::blocks::*;
use super::{PREFETCH_NODES, Strand};
use crate::runtime::sdr::label::{BASE_PARENTS, LAST_WORD, Label, PARENTS, Parents};
use std::arch::x86_64::*;

/// Whether this processor has the instructions.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

/// Blocks of parents that differ from each other: of 14 and, in layer 1, of 6.
const FRESH: usize = PARENTS / 2;
const FRESH_FIRST: usize = BASE_PARENTS / 2;
/// The bits of all that is hashed for a node with parents, and for the first node.
const BITS: i32 = 64 * 8 + 37 * 256;
const BITS_FIRST_NODE: i32 = 64 * 8;

pub(super) fn advance(strand: &mut Strand, nodes: usize) {
    assert!(nodes <= strand.left());
    let is_first = strand.previous.is_none();
    let mut lane = Lane::of(strand);
    // SAFETY: `Kernel` offers this kernel only where `available` says yes; the lane is the strand's, which stays
    // borrowed for the whole call; no more nodes are asked for than are left.
    unsafe { if is_first { run::<true>(&mut lane, nodes) } else { run::<false>(&mut lane, nodes) } }
    strand.next += nodes;
}

pub(super) fn advance_pair(one: &mut Strand, other: &mut Strand, nodes: usize) {
    assert!(nodes <= one.left() && nodes <= other.left());
    assert_eq!(one.previous.is_some(), other.previous.is_some());
    let is_first = one.previous.is_none();
    let mut lanes = (Lane::of(one), Lane::of(other));
    // SAFETY: as in `advance`, for both; each strand holds the layer that it writes alone.
    unsafe {
        if is_first {
            run_pair::<true>(&mut lanes.0, &mut lanes.1, nodes);
        } else {
            run_pair::<false>(&mut lanes.0, &mut lanes.1, nodes);
        }
    }
    one.next += nodes;
    other.next += nodes;
}

/// So many blocks, one after another, without anything that a label needs besides.
pub(super) fn dependent_blocks(blocks: usize) {
    // SAFETY: `Kernel` offers this kernel only where `available` says yes.
    unsafe { chain(blocks) }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn chain(blocks: usize) {
    let (mut state, schedule) = (initial(), Schedule::NONE);
    (0..blocks).for_each(|_| alone(&mut state, &schedule));
}

/// A strand while its slices are only pointers.
///
/// Always holds: `parents` and `current` have `mask + 1` elements, and so has `previous` unless the layer is the
/// first; a power of two; `node` is at most `mask + 1`.
struct Lane {
    parents: *const Parents,
    previous: *const Label,
    current: *mut Label,
    mask: usize,
    node: usize,
    replica: Label,
    layer: u32,
    schedules: [Schedule; FRESH],
    /// Of the node in work, between its two halves.
    state: State,
    last: *const Label,
}

impl Lane {
    fn of(strand: &mut Strand) -> Self {
        // SAFETY: every x86-64 processor has SSE2.
        let state = unsafe { initial() };
        Self {
            parents: strand.parents.as_ptr(),
            previous: strand.previous.map_or(std::ptr::null(), <[Label]>::as_ptr),
            current: strand.current.as_mut_ptr(),
            mask: strand.current.len() - 1,
            node: strand.next,
            replica: strand.replica,
            layer: strand.layer,
            schedules: [Schedule::NONE; FRESH],
            state,
            last: std::ptr::null(),
        }
    }

    /// The label with this number in the layer of the parent with that one.
    fn address(&self, parent: usize, number: u32) -> *const Label {
        let layer = if parent < BASE_PARENTS { self.current.cast_const() } else { self.previous };
        layer.wrapping_add(number as usize & self.mask)
    }

    /// Where the labels of this node's parents are; in the first layer those of the first six.
    ///
    /// # Safety
    ///
    /// The node is in the layer.
    #[inline]
    unsafe fn addresses(&self) -> [*const Label; PARENTS] {
        // SAFETY: there are as many rows as nodes.
        let parents = unsafe { (*self.parents.add(self.node)).get() };
        std::array::from_fn(|i| self.address(i, parents[i]))
    }

    /// The parents of a node a little ahead.
    #[inline]
    fn ahead(&self) -> [u32; PARENTS] {
        // SAFETY: the row's number is taken modulo how many there are.
        unsafe { (*self.parents.add((self.node + PREFETCH_NODES) & self.mask)).get() }
    }

    /// Asks for the label of one of those parents.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn fetch(&self, ahead: &[u32; PARENTS], parent: usize) {
        _mm_prefetch::<_MM_HINT_T0>(self.address(parent, ahead[parent]).cast());
    }

    /// The first block of this node or of one after it.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn header(&self, after: usize) -> Message {
        let [a, b, c, d, e, f, g, h] = self.replica.0.map(u32::cast_signed);
        let node = (self.node + after) as u64;
        let (high, low) = ((node >> 32) as i32, node as i32);
        [
            _mm_set_epi32(d, c, b, a),
            _mm_set_epi32(h, g, f, e),
            _mm_set_epi32(0, low, high, self.layer.cast_signed()),
            _mm_setzero_si128(),
        ]
    }

    /// Writes the node's label.
    ///
    /// # Safety
    ///
    /// The node is in the layer.
    #[inline]
    #[target_feature(enable = "sse2,ssse3,sse4.1")]
    unsafe fn finish(&mut self, state: State) {
        let feba = _mm_shuffle_epi32::<0x1b>(state.abef);
        let dchg = _mm_shuffle_epi32::<0xb1>(state.cdgh);
        let abcd = _mm_blend_epi16::<0xf0>(feba, dchg);
        let efgh = _mm_alignr_epi8::<8>(dchg, feba);
        let efgh = _mm_and_si128(efgh, _mm_set_epi32(LAST_WORD.cast_signed(), -1, -1, -1));
        // SAFETY: a label in the layer: eight aligned words, ours to write.
        unsafe {
            let words = self.current.add(self.node).cast::<__m128i>();
            _mm_store_si128(words, abcd);
            _mm_store_si128(words.add(1), efgh);
        }
        self.node += 1;
    }
}

/// The block of two labels.
///
/// # Safety
///
/// They are addresses of labels.
#[inline]
#[target_feature(enable = "sse2")]
unsafe fn two_labels(one: *const Label, other: *const Label) -> Message {
    let (one, other) = (one.cast::<__m128i>(), other.cast::<__m128i>());
    // SAFETY: a label is eight aligned words.
    unsafe { [_mm_load_si128(one), _mm_load_si128(one.add(1)), _mm_load_si128(other), _mm_load_si128(other.add(1))] }
}

/// The block of one label and the end of the message.
///
/// # Safety
///
/// It is the address of a label.
#[inline]
#[target_feature(enable = "sse2")]
unsafe fn last_label(label: *const Label) -> Message {
    // SAFETY: handed on from our caller.
    let [low, high, ..] = unsafe { two_labels(label, label) };
    let [padding, _, _, length] = end(BITS);
    [low, high, padding, length]
}

/// The end of a message of so many bits, as a block of its own.
#[inline]
#[target_feature(enable = "sse2")]
fn end(bits: i32) -> Message {
    let zero = _mm_setzero_si128();
    [_mm_set_epi32(0, 0, 0, i32::MIN), zero, zero, _mm_set_epi32(bits, 0, 0, 0)]
}

/// Computes `nodes` labels.
///
/// # Safety
///
/// The processor has the instructions, the lane's slices are borrowed, and so many nodes are left.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn run<const FIRST: bool>(lane: &mut Lane, nodes: usize) {
    let mut state = initial();
    fresh(&mut state, lane.header(0));
    for _ in 0..nodes {
        let mut side = Side { state: initial(), message: lane.header(1) };
        if lane.node == 0 {
            fresh(&mut state, end(BITS_FIRST_NODE));
            fresh(&mut side.state, side.message);
        } else {
            // SAFETY: handed on from our caller; the node is one that is left.
            unsafe { parents::<FIRST>(&mut state, lane, &mut side) };
            side.state = add(side.state, initial());
        }
        // SAFETY: the node is one that is left.
        unsafe { lane.finish(state) };
        state = side.state;
    }
}

/// The 19 blocks of parents, and beside them the next node's header.
///
/// # Safety
///
/// As `run`; the lane's node is one that is left.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn parents<const FIRST: bool>(state: &mut State, lane: &mut Lane, side: &mut Side) {
    // SAFETY: the node is one that is left.
    let at = unsafe { lane.addresses() };
    let ahead = lane.ahead();
    for block in 0..if FIRST { FRESH_FIRST } else { FRESH } {
        // SAFETY: these are addresses of labels.
        let message = unsafe { two_labels(at[2 * block], at[2 * block + 1]) };
        fresh_and_keep(state, message, &mut lane.schedules[block]);
    }
    let (s, mut h, mut now) = (&lane.schedules, *side, *state);
    let fetch = |parent| lane.fetch(&ahead, parent);
    if FIRST {
        fetch(0);
        kept!(now, &s[0], h, 0 no);
        kept!(now, &s[1], h, 1 no);
        fetch(1);
        kept!(now, &s[2], h, 2 no);
        kept!(now, &s[0], h, 3 no);
        fetch(2);
        kept!(now, &s[1], h, 4 no);
        kept!(now, &s[2], h, 5 no);
        fetch(3);
        kept!(now, &s[0], h, 6 no);
        kept!(now, &s[1], h, 7 no);
        fetch(4);
        kept!(now, &s[2], h, 8 no);
        kept!(now, &s[0], h, 9 no);
        fetch(5);
        kept!(now, &s[1], h, 10 no);
        kept!(now, &s[2], h, 11 no);
        kept!(now, &s[0], h, 12 no);
        kept!(now, &s[1], h, 13 no);
        kept!(now, &s[2], h, 14 15);
    } else {
        fetch(0);
        fetch(11);
        kept!(now, &s[0], h, 0 1);
        fetch(1);
        fetch(12);
        kept!(now, &s[1], h, 2 3);
        fetch(2);
        fetch(13);
        kept!(now, &s[2], h, 4 5);
        fetch(3);
        kept!(now, &s[3], h, 6 7);
        fetch(4);
        kept!(now, &s[4], h, 8 9);
        fetch(5);
        kept!(now, &s[5], h, 10 no);
        fetch(6);
        kept!(now, &s[6], h, 11 no);
        fetch(7);
        kept!(now, &s[0], h, 12 no);
        fetch(8);
        kept!(now, &s[1], h, 13 no);
        fetch(9);
        kept!(now, &s[2], h, 14 no);
        fetch(10);
        kept!(now, &s[3], h, 15 no);
    }
    // SAFETY: an address of a label.
    let last = unsafe { last_label(at[if FIRST { 0 } else { 8 }]) };
    fresh(&mut now, last);
    (*state, *side) = (now, h);
}

/// Computes `nodes` labels of each of two lanes.
///
/// # Safety
///
/// As `run`, for both.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn run_pair<const FIRST: bool>(one: &mut Lane, other: &mut Lane, nodes: usize) {
    let mut left = (nodes, nodes);
    for (lane, left) in [(&mut *one, &mut left.0), (&mut *other, &mut left.1)] {
        if lane.node == 0 && *left > 0 {
            // SAFETY: handed on from our caller. The first node has no parents and no half.
            unsafe { run::<FIRST>(lane, 1) };
            *left -= 1;
        }
    }
    let together = left.0.min(left.1).saturating_sub(1);
    // SAFETY: handed on from our caller: `other` begins a node more than it ends in the loop, and is given one to
    // begin only if one is left; what is left over is done one after the other.
    unsafe {
        if together > 0 {
            front::<FIRST>(other);
            for _ in 0..together {
                half::<FIRST>(one, other);
                half::<FIRST>(other, one);
            }
            back::<FIRST>(other);
            left = (left.0 - together, left.1 - together - 1);
        }
        // What `one` began in the loop it ended there.
        run::<FIRST>(one, left.0);
        run::<FIRST>(other, left.1);
    }
}

/// Which kept schedule the block with this number in the node uses.
#[inline]
const fn kept_for<const FIRST: bool>(block: usize) -> usize {
    (block - 1) % if FIRST { FRESH_FIRST } else { FRESH }
}

/// Blocks 0 to 9 of a node, alone.
///
/// # Safety
///
/// As `run`; the lane's node is one that is left, and not the first.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn front<const FIRST: bool>(lane: &mut Lane) {
    // SAFETY: the node is one that is left.
    let at = unsafe { lane.addresses() };
    lane.last = at[if FIRST { 0 } else { 8 }];
    lane.state = initial();
    let header = lane.header(0);
    fresh(&mut lane.state, header);
    let fresh_blocks = if FIRST { FRESH_FIRST } else { FRESH };
    for block in 0..fresh_blocks {
        // SAFETY: these are addresses of labels.
        let message = unsafe { two_labels(at[2 * block], at[2 * block + 1]) };
        fresh_and_keep(&mut lane.state, message, &mut lane.schedules[block]);
    }
    for block in fresh_blocks + 1..10 {
        alone(&mut lane.state, &lane.schedules[kept_for::<FIRST>(block)]);
    }
}

/// Blocks 10 to 19 of a node, alone.
///
/// # Safety
///
/// `front` or the first half of `half` came before.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn back<const FIRST: bool>(lane: &mut Lane) {
    let mut state = lane.state;
    for block in 10..19 {
        alone(&mut state, &lane.schedules[kept_for::<FIRST>(block)]);
    }
    // SAFETY: the front left the address of a label; the node is one that is left.
    unsafe {
        fresh(&mut state, last_label(lane.last));
        lane.finish(state);
    }
}

/// A block from a kept schedule with nothing beside it.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn alone(state: &mut State, schedule: &Schedule) {
    let mut nothing = Side { state: initial(), message: [_mm_setzero_si128(); 4] };
    kept!(*state, schedule, nothing, no no);
}

/// Blocks 0 to 9 of a node of one lane beside blocks 10 to 19 of a node of the other.
///
/// # Safety
///
/// As `run`, for both; the node that begins is one that is left, and not the first; the front of the other's is done.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
unsafe fn half<const FIRST: bool>(begins: &mut Lane, ends: &mut Lane) {
    // SAFETY: the node is one that is left.
    let at = unsafe { begins.addresses() };
    let ahead = begins.ahead();
    let mut unused = Schedule::NONE;
    let (mut x, mut y) = (initial(), ends.state);
    fresh_beside_kept(&mut x, begins.header(0), &mut unused, &mut y, &ends.schedules[kept_for::<FIRST>(10)]);
    let fresh_blocks = if FIRST { FRESH_FIRST } else { FRESH };
    for block in 1..9 {
        let kept = &ends.schedules[kept_for::<FIRST>(10 + block)];
        if !FIRST || block <= BASE_PARENTS {
            begins.fetch(&ahead, block - 1);
        }
        if !FIRST && block <= PARENTS - 8 {
            begins.fetch(&ahead, 7 + block);
        }
        if block <= fresh_blocks {
            // SAFETY: these are addresses of labels.
            let message = unsafe { two_labels(at[2 * block - 2], at[2 * block - 1]) };
            fresh_beside_kept(&mut x, message, &mut begins.schedules[block - 1], &mut y, kept);
        } else {
            kept_beside_kept(&mut x, &begins.schedules[kept_for::<FIRST>(block)], &mut y, kept);
        }
    }
    // SAFETY: the front left the address of a label.
    let last = unsafe { last_label(ends.last) };
    fresh_beside_kept(&mut y, last, &mut unused, &mut x, &begins.schedules[kept_for::<FIRST>(9)]);
    begins.state = x;
    begins.last = at[if FIRST { 0 } else { 8 }];
    // SAFETY: the node is one that is left.
    unsafe { ends.finish(y) };
}
