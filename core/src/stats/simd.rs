//! Which vector instructions the processor has, and functions compiled for each.
//!
//! `unsafe` here: calls of functions compiled for instructions that were found to be there.
#![allow(unsafe_code, reason = "calling what is compiled for a found instruction set")]

/// What the processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) enum Level {
    /// What every processor of the target has.
    Baseline = 1,
    /// AVX2 and fused multiply-add, on x86-64.
    Avx2 = 2,
    /// Those and AVX-512F.
    Avx512 = 3,
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn level() -> Level {
    Level::Baseline
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::level;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    use super::Level;
    use crate::sync::{Once8, Ordering};

    /// Asking the processor takes long, and in a virtual machine much longer: the answer is kept.
    static FOUND: Once8 = Once8::new(0);

    /// The highest level that both the processor and the operating system support.
    #[inline]
    pub(in crate::stats) fn level() -> Level {
        match FOUND.load(Ordering::Relaxed) {
            1 => Level::Baseline,
            2 => Level::Avx2,
            3 => Level::Avx512,
            _ => ask(),
        }
    }

    #[cold]
    fn ask() -> Level {
        let level = detect();
        // Whoever asks at the same time finds the same.
        FOUND.store(level as u8, Ordering::Relaxed);
        level
    }

    /// Intel, *Software Developer's Manual*, volume 1, 14.3 and 15.2.
    #[allow(unused_unsafe, reason = "safe from Rust 1.94 on")]
    fn detect() -> Level {
        const FMA: u32 = 1 << 12;
        const OSXSAVE: u32 = 1 << 27;
        const AVX: u32 = 1 << 28;
        const AVX2: u32 = 1 << 5;
        const AVX512F: u32 = 1 << 16;
        // SAFETY: every x86-64 processor has `cpuid`.
        let (highest, features) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx) };
        if highest < 7 || features & (FMA | OSXSAVE | AVX) != FMA | OSXSAVE | AVX {
            return Level::Baseline;
        }
        // SAFETY: as above.
        let extended = unsafe { __cpuid_count(7, 0).ebx };
        // SAFETY: OSXSAVE says that the instruction is there and that a program may use it.
        let saved = unsafe { saved_state() };
        // The 128- and 256-bit registers; the masks and the 512-bit registers.
        let keeps = |state: u64| saved & state == state;
        if extended & AVX2 == 0 || !keeps(0b110) {
            Level::Baseline
        } else if extended & AVX512F == 0 || !keeps(0b1110_0110) {
            Level::Avx2
        } else {
            Level::Avx512
        }
    }

    /// Which registers the operating system keeps when it switches threads.
    ///
    /// # Safety
    /// The processor has `xgetbv` and the operating system allows it.
    #[target_feature(enable = "xsave")]
    unsafe fn saved_state() -> u64 {
        // SAFETY: as the caller promises.
        unsafe { _xgetbv(0) }
    }
}

/// Defines a function three times from one body, for each [`Level`], and one of its name that takes the
/// level. The same body adds in the same order, so the answers are the same.
macro_rules! for_each_level {
    ($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $answer:ty $body:block) => {
        $(#[$meta])*
        pub(super) fn $name(level: $crate::stats::simd::Level, $($argument: $type),*) -> $answer {
            #[inline(always)]
            fn body($($argument: $type),*) -> $answer $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) -> $answer {
                    body($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($argument: $type),*) -> $answer {
                    body($($argument),*)
                }
                match level {
                    $crate::stats::simd::Level::Baseline => body($($argument),*),
                    // SAFETY: a level is only ever asked for where it was found.
                    $crate::stats::simd::Level::Avx2 => unsafe { avx2($($argument),*) },
                    // SAFETY: as above.
                    $crate::stats::simd::Level::Avx512 => unsafe { avx512($($argument),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = level;
                body($($argument),*)
            }
        }
    };
}
pub(super) use for_each_level;
