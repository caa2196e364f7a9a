//! Single blocks as fixed sequences of instructions, alone and side by side.
//!
//! Written as text because order is all that matters here: from intrinsics the compiler moves the loads of the kept
//! schedules out of their loops and onto the stack, and the work that is spread over a chain into one heap.
//!
//! | | chain | beside it |
//! | --- | --- | --- |
//! | `fresh` | a block from its message, schedule made, and kept if wanted | |
//! | `kept!` | a block from a kept schedule | some rounds of another strand of work from its message |
//! | `fresh_beside_kept` | a block from its message | another strand's block from a kept schedule |
//! | `kept_beside_kept` | a block from a kept schedule | the same of another strand |

#![allow(unsafe_code)]

use std::arch::x86_64::*;

/// The round constants.
#[repr(C, align(64))]
pub(super) struct Constants([u32; 64]);

pub(super) static K: Constants = Constants([
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
    0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
    0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
    0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
    0xc67178f2,
]);

const INITIAL: [u32; 8] =
    [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

/// A block's message schedule with the round constants added.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Schedule([u32; 64]);

impl Schedule {
    pub(super) const NONE: Self = Self([0; 64]);
}

/// The 16 words of a block.
pub(super) type Message = [__m128i; 4];

/// A hash on its way, in the order in which the instructions want it.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) abef: __m128i,
    pub(super) cdgh: __m128i,
}

/// The state that every hash begins with.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn initial() -> State {
    let [a, b, c, d, e, f, g, h] = INITIAL.map(u32::cast_signed);
    State { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

/// The sum with which a block ends.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn add(one: State, other: State) -> State {
    State { abef: _mm_add_epi32(one.abef, other.abef), cdgh: _mm_add_epi32(one.cdgh, other.cdgh) }
}

/// Four rounds from a kept schedule. Each instruction takes the low half of its operand: two loads of a half need
/// no shuffle.
macro_rules! from_kept {
    ($c:literal $a:literal $from:literal $group:literal) => {
        concat!(
            "movq xmm0, qword ptr [",
            $from,
            " + 16*",
            $group,
            "]\n",
            "sha256rnds2 ",
            $c,
            ", ",
            $a,
            ", xmm0\n",
            "movq xmm0, qword ptr [",
            $from,
            " + 16*",
            $group,
            " + 8]\n",
            "sha256rnds2 ",
            $a,
            ", ",
            $c,
            ", xmm0\n",
        )
    };
}

/// The next four words of a message's schedule, in the place of the oldest.
macro_rules! expand {
    ($m0:literal $m1:literal $m2:literal $m3:literal $t:literal) => {
        concat!(
            "sha256msg1 ",
            $m0,
            ", ",
            $m1,
            "\n",
            "movdqa ",
            $t,
            ", ",
            $m3,
            "\n",
            "palignr ",
            $t,
            ", ",
            $m2,
            ", 4\n",
            "paddd ",
            $m0,
            ", ",
            $t,
            "\n",
            "sha256msg2 ",
            $m0,
            ", ",
            $m3,
            "\n",
        )
    };
}

/// Four rounds from four words of a schedule, which are kept behind `keep` unless that is `no`.
macro_rules! rounds {
    ($c:literal $a:literal $m:literal $group:literal no) => {
        concat!(
            "movdqa xmm0, ",
            $m,
            "\n",
            "paddd xmm0, xmmword ptr [{k} + 16*",
            $group,
            "]\n",
            "sha256rnds2 ",
            $c,
            ", ",
            $a,
            ", xmm0\n",
            "pshufd xmm0, xmm0, 14\n",
            "sha256rnds2 ",
            $a,
            ", ",
            $c,
            ", xmm0\n",
        )
    };
    ($c:literal $a:literal $m:literal $group:literal $keep:literal) => {
        concat!(
            "movdqa xmm0, ",
            $m,
            "\n",
            "paddd xmm0, xmmword ptr [{k} + 16*",
            $group,
            "]\n",
            "movdqa xmmword ptr [",
            $keep,
            " + 16*",
            $group,
            "], xmm0\n",
            "sha256rnds2 ",
            $c,
            ", ",
            $a,
            ", xmm0\n",
            "pshufd xmm0, xmm0, 14\n",
            "sha256rnds2 ",
            $a,
            ", ",
            $c,
            ", xmm0\n",
        )
    };
}

/// Rounds 4·group to 4·group + 3 of a block whose message is in m0…m3; the groups come in order.
macro_rules! from_message {
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 0 $keep:tt) => {
        rounds!($c $a $m0 0 $keep)
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 1 $keep:tt) => {
        rounds!($c $a $m1 1 $keep)
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 2 $keep:tt) => {
        rounds!($c $a $m2 2 $keep)
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 3 $keep:tt) => {
        rounds!($c $a $m3 3 $keep)
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 4 $keep:tt) => {
        concat!(expand!($m0 $m1 $m2 $m3 $t), rounds!($c $a $m0 4 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 5 $keep:tt) => {
        concat!(expand!($m1 $m2 $m3 $m0 $t), rounds!($c $a $m1 5 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 6 $keep:tt) => {
        concat!(expand!($m2 $m3 $m0 $m1 $t), rounds!($c $a $m2 6 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 7 $keep:tt) => {
        concat!(expand!($m3 $m0 $m1 $m2 $t), rounds!($c $a $m3 7 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 8 $keep:tt) => {
        concat!(expand!($m0 $m1 $m2 $m3 $t), rounds!($c $a $m0 8 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 9 $keep:tt) => {
        concat!(expand!($m1 $m2 $m3 $m0 $t), rounds!($c $a $m1 9 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 10 $keep:tt) => {
        concat!(expand!($m2 $m3 $m0 $m1 $t), rounds!($c $a $m2 10 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 11 $keep:tt) => {
        concat!(expand!($m3 $m0 $m1 $m2 $t), rounds!($c $a $m3 11 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 12 $keep:tt) => {
        concat!(expand!($m0 $m1 $m2 $m3 $t), rounds!($c $a $m0 12 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 13 $keep:tt) => {
        concat!(expand!($m1 $m2 $m3 $m0 $t), rounds!($c $a $m1 13 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 14 $keep:tt) => {
        concat!(expand!($m2 $m3 $m0 $m1 $t), rounds!($c $a $m2 14 $keep))
    };
    ($c:literal $a:literal $m0:literal $m1:literal $m2:literal $m3:literal $t:literal 15 $keep:tt) => {
        concat!(expand!($m3 $m0 $m1 $m2 $t), rounds!($c $a $m3 15 $keep))
    };
}

/// The 16 groups of `from_message` for one chain.
macro_rules! whole_message {
    ($keep:tt) => {
        whole_message!(@ $keep 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $keep:tt $($group:tt)*) => {
        concat!($(from_message!("{c}" "{a}" "{m0}" "{m1}" "{m2}" "{m3}" "{t}" $group $keep)),*)
    };
}

/// The same, each group after one of another strand from a kept schedule.
macro_rules! message_and_kept {
    ($($group:tt)*) => {
        concat!($(
            from_kept!("{d}" "{b}" "{p}" $group),
            from_message!("{c}" "{a}" "{m0}" "{m1}" "{m2}" "{m3}" "{t}" $group "{keep}"),
        )*)
    };
}

/// Two strands from kept schedules, in turns of two rounds.
macro_rules! kept_and_kept {
    ($($group:tt)*) => {
        concat!($(
            "movq xmm0, qword ptr [{p} + 16*", $group, "]\n",
            "sha256rnds2 {c}, {a}, xmm0\n",
            "movq xmm0, qword ptr [{q} + 16*", $group, "]\n",
            "sha256rnds2 {d}, {b}, xmm0\n",
            "movq xmm0, qword ptr [{p} + 16*", $group, " + 8]\n",
            "sha256rnds2 {a}, {c}, xmm0\n",
            "movq xmm0, qword ptr [{q} + 16*", $group, " + 8]\n",
            "sha256rnds2 {b}, {d}, xmm0\n",
        )*)
    };
}

/// One block from its message.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn fresh(state: &mut State, message: Message) {
    let [m0, m1, m2, m3] = message;
    // SAFETY: reads the round constants, which are 64 aligned words; writes registers that it declares.
    unsafe {
        std::arch::asm!(
            "movdqa {sa}, {a}", "movdqa {sc}, {c}",
            whole_message!(no),
            "paddd {c}, {sc}", "paddd {a}, {sa}",
            a = inout(xmm_reg) state.abef, c = inout(xmm_reg) state.cdgh,
            sa = out(xmm_reg) _, sc = out(xmm_reg) _, t = out(xmm_reg) _, out("xmm0") _,
            m0 = inout(xmm_reg) m0 => _, m1 = inout(xmm_reg) m1 => _,
            m2 = inout(xmm_reg) m2 => _, m3 = inout(xmm_reg) m3 => _,
            k = in(reg) &K, options(nostack, preserves_flags, readonly)
        );
    }
}

/// One block from its message, whose schedule is kept.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn fresh_and_keep(state: &mut State, message: Message, keep: &mut Schedule) {
    let [m0, m1, m2, m3] = message;
    // SAFETY: reads the round constants and writes the schedule, both 64 aligned words; writes registers that it
    // declares.
    unsafe {
        std::arch::asm!(
            "movdqa {sa}, {a}", "movdqa {sc}, {c}",
            whole_message!("{keep}"),
            "paddd {c}, {sc}", "paddd {a}, {sa}",
            a = inout(xmm_reg) state.abef, c = inout(xmm_reg) state.cdgh,
            sa = out(xmm_reg) _, sc = out(xmm_reg) _, t = out(xmm_reg) _, out("xmm0") _,
            m0 = inout(xmm_reg) m0 => _, m1 = inout(xmm_reg) m1 => _,
            m2 = inout(xmm_reg) m2 => _, m3 = inout(xmm_reg) m3 => _,
            k = in(reg) &K, keep = in(reg) keep, options(nostack, preserves_flags)
        );
    }
}

/// One block from its message, whose schedule is kept, and a block of another strand from a kept schedule.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub(super) fn fresh_beside_kept(
    state: &mut State,
    message: Message,
    keep: &mut Schedule,
    other: &mut State,
    kept: &Schedule,
) {
    let [m0, m1, m2, m3] = message;
    // SAFETY: reads the round constants and one schedule and writes the other, each 64 aligned words; writes
    // registers that it declares.
    unsafe {
        std::arch::asm!(
            "movdqa {sa}, {a}", "movdqa {sc}, {c}", "movdqa {sb}, {b}", "movdqa {sd}, {d}",
            message_and_kept!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            "paddd {d}, {sd}", "paddd {b}, {sb}", "paddd {c}, {sc}", "paddd {a}, {sa}",
            a = inout(xmm_reg) state.abef, c = inout(xmm_reg) state.cdgh,
            b = inout(xmm_reg) other.abef, d = inout(xmm_reg) other.cdgh,
            sa = out(xmm_reg) _, sc = out(xmm_reg) _, sb = out(xmm_reg) _, sd = out(xmm_reg) _,
            t = out(xmm_reg) _, out("xmm0") _,
            m0 = inout(xmm_reg) m0 => _, m1 = inout(xmm_reg) m1 => _,
            m2 = inout(xmm_reg) m2 => _, m3 = inout(xmm_reg) m3 => _,
            k = in(reg) &K, keep = in(reg) keep, p = in(reg) kept, options(nostack, preserves_flags)
        );
    }
}

/// One block of each of two strands, from kept schedules.
#[inline]
#[target_feature(enable = "sha,sse2")]
pub(super) fn kept_beside_kept(state: &mut State, kept: &Schedule, other: &mut State, others: &Schedule) {
    // SAFETY: reads two schedules, each 64 aligned words; writes registers that it declares.
    unsafe {
        std::arch::asm!(
            "movdqa {sa}, {a}", "movdqa {sc}, {c}", "movdqa {sb}, {b}", "movdqa {sd}, {d}",
            kept_and_kept!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            "paddd {c}, {sc}", "paddd {a}, {sa}", "paddd {d}, {sd}", "paddd {b}, {sb}",
            a = inout(xmm_reg) state.abef, c = inout(xmm_reg) state.cdgh,
            b = inout(xmm_reg) other.abef, d = inout(xmm_reg) other.cdgh,
            sa = out(xmm_reg) _, sc = out(xmm_reg) _, sb = out(xmm_reg) _, sd = out(xmm_reg) _, out("xmm0") _,
            p = in(reg) kept, q = in(reg) others, options(nostack, preserves_flags, readonly)
        );
    }
}

/// A block that is computed bit by bit beside another chain; what it begins with is added by its owner.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub(super) state: State,
    pub(super) message: Message,
}

/// `kept!(state, schedule, side, group group)`: one block from a kept schedule, with none, one or two groups of
/// four rounds of the side's block in between. The side's 16 groups must come in order.
macro_rules! kept {
    ($state:expr, $schedule:expr, $side:expr, $one:tt $two:tt) => {{
        let (state, side): (&mut State, &mut Side) = (&mut $state, &mut $side);
        let schedule: &Schedule = $schedule;
        let [h0, h1, h2, h3] = &mut side.message;
        // SAFETY: reads the round constants and the schedule, each 64 aligned words; writes registers that it
        // declares.
        unsafe {
            std::arch::asm!(
                "movdqa {sa}, {a}", "movdqa {sc}, {c}",
                kept!(@kept 0 1 2 3), kept!(@side $one), kept!(@kept 4 5 6 7 8 9 10 11), kept!(@side $two),
                kept!(@kept 12 13 14 15),
                "paddd {c}, {sc}", "paddd {a}, {sa}", "/* {hc} {ha} {h0} {h1} {h2} {h3} {t} {k} */",
                a = inout(xmm_reg) state.abef, c = inout(xmm_reg) state.cdgh,
                sa = out(xmm_reg) _, sc = out(xmm_reg) _, t = out(xmm_reg) _, out("xmm0") _,
                ha = inout(xmm_reg) side.state.abef, hc = inout(xmm_reg) side.state.cdgh,
                h0 = inout(xmm_reg) *h0, h1 = inout(xmm_reg) *h1, h2 = inout(xmm_reg) *h2, h3 = inout(xmm_reg) *h3,
                p = in(reg) schedule, k = in(reg) &K, options(nostack, preserves_flags, readonly)
            );
        }
    }};
    (@side no) => { "" };
    (@side $group:tt) => { from_message!("{hc}" "{ha}" "{h0}" "{h1}" "{h2}" "{h3}" "{t}" $group no) };
    (@kept $($group:tt)*) => { concat!($(from_kept!("{c}" "{a}" "{p}" $group)),*) };
}
pub(super) use kept;
pub(super) use {expand, from_kept, from_message, rounds};
