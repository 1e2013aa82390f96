//! Stops a thread inside an operation with a signal, wherever it happens to be there.
//!
//! The thread says when it is inside ([`Victim::inside`]). The signal's handler looks: inside, it
//! holds the thread until released; outside, it returns and the signal is sent again. One victim
//! at a time, since the state is the process's.
#![allow(unsafe_code, reason = "signals are the C library's")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, compiler_fence};
use std::thread;
use std::time::Duration;

use tensorforge_benches::clock;

/// Only the victim and, on its thread, the handler touch it.
static INSIDE: AtomicBool = AtomicBool::new(false);
static HELD: AtomicBool = AtomicBool::new(false);
static RELEASED: AtomicBool = AtomicBool::new(false);
/// Signals handled.
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// The instruction at which the victim is held, where the processor's context is known to us.
static INSTRUCTION: AtomicUsize = AtomicUsize::new(0);

/// How long to go on trying: a thread that only waits elsewhere is never inside.
const PATIENCE: Duration = Duration::from_secs(2);

/// In pauses of half a millisecond: nothing waits for ever, whatever the victim holds.
const LONGEST_HOLD: u32 = 40_000;

extern "C" fn hold(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the address of this thread's errno is valid as long as the thread is.
    let errno = unsafe { *libc::__errno_location() };
    if INSIDE.load(Ordering::Relaxed) {
        INSTRUCTION.store(instruction(context), Ordering::Relaxed);
        HELD.store(true, Ordering::Release);
        let pause = libc::timespec { tv_sec: 0, tv_nsec: 500_000 };
        for _ in 0..LONGEST_HOLD {
            if RELEASED.load(Ordering::Acquire) {
                break;
            }
            // SAFETY: nanosleep may be called in a handler; it reads `pause` and writes nothing.
            unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
        }
        HELD.store(false, Ordering::Release);
    }
    HANDLED.fetch_add(1, Ordering::Release);
    // SAFETY: as above. The interrupted code may be about to read its own errno.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(target_arch = "x86_64")]
fn instruction(context: *mut c_void) -> usize {
    let context = context.cast::<libc::ucontext_t>().cast_const();
    // SAFETY: the kernel hands an SA_SIGINFO handler a valid `ucontext_t`.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    registers[libc::REG_RIP as usize] as usize
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction(_: *mut c_void) -> usize {
    0
}

fn install() {
    // SAFETY: `sigaction` is plain data for which zeroes are valid; `hold` calls nothing that a
    // handler may not, and SIGUSR1 has no other user in this process.
    let failed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = hold;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut())
    };
    assert_eq!(failed, 0, "SIGUSR1 takes a handler");
}

/// The thread to stop, as it shows itself.
pub(crate) struct Victim {
    thread: AtomicUsize,
}

impl Victim {
    pub(crate) fn new() -> Self {
        install();
        Self { thread: AtomicUsize::new(0) }
    }

    /// Called by the victim before anything else. It must outlive every [`stop`](Self::stop).
    pub(crate) fn introduce(&self) {
        // SAFETY: it only reads the calling thread's name.
        let me = unsafe { libc::pthread_self() };
        self.thread.store(me as usize, Ordering::Release);
    }

    /// Runs `operation` as one in which the victim may be stopped.
    #[inline(always)]
    pub(crate) fn inside(operation: impl FnOnce()) {
        INSIDE.store(true, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        operation();
        compiler_fence(Ordering::SeqCst);
        INSIDE.store(false, Ordering::Relaxed);
    }

    /// Stops the victim inside an operation and returns the instruction at which it stands;
    /// `None` when it could not be caught there.
    pub(crate) fn stop(&self, mut jitter: impl FnMut() -> Duration) -> Option<usize> {
        RELEASED.store(false, Ordering::Release);
        let deadline = clock::now() + PATIENCE;
        while clock::now() < deadline {
            thread::sleep(jitter());
            let before = HANDLED.load(Ordering::Acquire);
            let thread = self.thread.load(Ordering::Acquire) as libc::pthread_t;
            assert_ne!(thread, 0, "the victim has introduced itself");
            // SAFETY: by `introduce`'s contract the thread lives, so its name is valid.
            assert_eq!(unsafe { libc::pthread_kill(thread, libc::SIGUSR1) }, 0, "it can be sent");
            while HANDLED.load(Ordering::Acquire) == before {
                if HELD.load(Ordering::Acquire) {
                    return Some(INSTRUCTION.load(Ordering::Relaxed));
                }
                thread::yield_now();
            }
        }
        self.release();
        None
    }

    pub(crate) fn release(&self) {
        RELEASED.store(true, Ordering::Release);
    }
}
