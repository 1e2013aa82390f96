//! The atomics that every lock-free structure of this crate is built on.
//!
//! Shipped code uses `portable-atomic`, which is the processor's own where it has them. Under
//! `cfg(loom)` they are loom's, so that a model explores every order in which threads can meet.
//! Under `cfg(test)` each access first calls [`steps::step`], so that a test can stop or switch a
//! thread at every atomic step of an operation. The code above is the same in all three.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};

#[cfg(not(loom))]
pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{Ordering, fence},
};

#[cfg(not(any(loom, test)))]
pub(crate) use portable_atomic::{AtomicPtr, AtomicU32, AtomicU64};

#[cfg(all(test, not(loom)))]
pub(crate) use stepped::{AtomicPtr, AtomicU32, AtomicU64};

/// A function that is `const`, except in a loom model, whose atomics register themselves when built.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $visible:vis fn $name:ident($($argument:tt)*) -> $answer:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $visible const fn $name($($argument)*) -> $answer $body

        #[cfg(loom)]
        $(#[$meta])*
        $visible fn $name($($argument)*) -> $answer $body
    };
}
pub(crate) use const_unless_loom;

/// An array whose elements are built one by one, in a `const` function unless under loom.
macro_rules! array_of {
    ($element:expr; $length:expr) => {{
        #[cfg(not(loom))]
        {
            [const { $element }; $length]
        }
        #[cfg(loom)]
        {
            core::array::from_fn::<_, { $length }, _>(|_| $element)
        }
    }};
}
pub(crate) use array_of;

/// loom's shape of `UnsafeCell`: access only inside a closure, which loom can watch.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// What a test does at each atomic step of its thread.
#[cfg(all(test, not(loom)))]
pub(crate) mod steps {
    use std::boxed::Box;
    use std::cell::RefCell;

    std::thread_local! {
        static HOOK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
    }

    /// Runs `run` with `hook` called before every atomic access that this thread makes in it.
    pub(crate) fn with_hook<R>(hook: impl FnMut() + 'static, run: impl FnOnce() -> R) -> R {
        struct Unhook;
        impl Drop for Unhook {
            fn drop(&mut self) {
                HOOK.with(|slot| slot.borrow_mut().take());
            }
        }
        HOOK.with(|slot| *slot.borrow_mut() = Some(Box::new(hook)));
        let _unhook = Unhook;
        run()
    }

    /// Called before every atomic access. A hook's own atomic accesses are not stepped.
    pub(crate) fn step() {
        HOOK.with(|slot| {
            if let Ok(mut hook) = slot.try_borrow_mut()
                && let Some(hook) = hook.as_mut()
            {
                hook();
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod stepped {
    use super::Ordering;
    use super::steps::step;

    macro_rules! integer {
        ($name:ident, $int:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name(portable_atomic::$name);

            #[allow(dead_code)] // one list of methods for all widths
            impl $name {
                pub(crate) const fn new(value: $int) -> Self {
                    Self(portable_atomic::$name::new(value))
                }
                pub(crate) fn load(&self, order: Ordering) -> $int {
                    step();
                    self.0.load(order)
                }
                pub(crate) fn store(&self, value: $int, order: Ordering) {
                    step();
                    self.0.store(value, order);
                }
                pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.swap(value, order)
                }
                pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_add(value, order)
                }
                pub(crate) fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                    step();
                    self.0.fetch_sub(value, order)
                }
                pub(crate) fn compare_exchange_weak(
                    &self,
                    expected: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    step();
                    self.0.compare_exchange_weak(expected, new, success, failure)
                }
                pub(crate) fn compare_exchange(
                    &self,
                    expected: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    step();
                    self.0.compare_exchange(expected, new, success, failure)
                }
            }
        };
    }
    integer!(AtomicU32, u32);
    integer!(AtomicU64, u64);

    #[derive(Debug)]
    pub(crate) struct AtomicPtr<T>(portable_atomic::AtomicPtr<T>);

    impl<T> AtomicPtr<T> {
        pub(crate) const fn new(value: *mut T) -> Self {
            Self(portable_atomic::AtomicPtr::new(value))
        }
        pub(crate) fn load(&self, order: Ordering) -> *mut T {
            step();
            self.0.load(order)
        }
        pub(crate) fn store(&self, value: *mut T, order: Ordering) {
            step();
            self.0.store(value, order);
        }
    }
}

/// A byte that is written once or several times with the same value, and orders nothing: no model
/// explores it.
#[cfg(target_arch = "x86_64")]
pub(crate) use core::sync::atomic::AtomicU8 as Once8;
