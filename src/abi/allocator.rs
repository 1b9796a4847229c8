//! The plugin's heap: memory is wiped when it is returned.
//!
//! The AWS client cannot be told to wipe its buffers, and the answer of a Decrypt call goes through several of them with
//! the data key in it. Without this, copies of keys lie in freed memory, and so in a core dump of the server. The
//! allocator serves the plugin's own code and the libraries in it, not the server; the callbacks for pages and logs use
//! no heap.

use std::alloc::{GlobalAlloc, Layout, System};

#[global_allocator]
static ALLOCATOR: Wiping<System> = Wiping(System);

/// An allocator that wipes memory before it goes back to the allocator behind it.
struct Wiping<A>(A);

// SAFETY: all memory is that of the allocator behind it, with the layout that was asked for. `alloc_zeroed` and `realloc`
// are the trait's own, which allocate, and zero or copy and deallocate, by the functions here.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(test)]
        count::one();
        // SAFETY: the layout is as the caller promises.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if cfg!(miri) {
            // Miri, an interpreter that some of the tests run in, does not have the function below.
            // SAFETY: a block of this layout, which nobody uses any more, as the caller promises.
            unsafe { memory.write_bytes(0, layout.size()) };
        } else {
            // Not an ordinary write, which the compiler may leave out before memory is freed.
            // SAFETY: a block of this layout, which nobody uses any more, as the caller promises.
            unsafe { libc::explicit_bzero(memory.cast(), layout.size()) };
        }
        // SAFETY: it came from this allocator with this layout.
        unsafe { self.0.dealloc(memory, layout) };
    }
}

/// Counts allocations for the tests.
#[cfg(test)]
pub(super) mod count {
    use std::cell::Cell;

    thread_local! {
        static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn one() {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
    }

    /// How often the calling thread has asked for memory while `work` ran.
    pub(in crate::abi) fn of(work: impl FnOnce()) -> usize {
        let before = ALLOCATIONS.with(Cell::get);
        work();
        ALLOCATIONS.with(Cell::get) - before
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// The allocator behind the one that is tested: it looks at memory that comes back, while it is still allocated.
    #[derive(Default)]
    struct Inspecting {
        /// Of each block that came back, in their order: its length, and whether all of it was zero.
        returned: RefCell<Vec<(usize, bool)>>,
        moved_unseen: Cell<bool>,
    }

    // SAFETY: all memory is that of the system's allocator, with the layout that was asked for.
    unsafe impl GlobalAlloc for Inspecting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the layout is as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: a block of this layout; the test has written all of it.
            let bytes = unsafe { std::slice::from_raw_parts(memory, layout.size()) };
            self.returned.borrow_mut().push((bytes.len(), bytes.iter().all(|&byte| byte == 0)));
            // SAFETY: it came from the system's allocator with this layout.
            unsafe { System.dealloc(memory, layout) };
        }

        unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            self.moved_unseen.set(true);
            // SAFETY: the block and the sizes are as the caller promises.
            unsafe { System.realloc(memory, layout, new_size) }
        }
    }

    #[test]
    #[allow(clippy::multiple_unsafe_ops_per_block)] // the same proof holds for all of them
    fn memory_is_wiped_when_it_is_returned_and_when_it_moves() {
        let (small, large) = (Layout::new::<[u8; 4000]>(), Layout::new::<[u8; 60_000]>());
        let wiping = Wiping(Inspecting::default());
        // SAFETY: each block is written within its layout, and returned once with it.
        unsafe {
            let memory = wiping.alloc(small);
            memory.write_bytes(0x5a, small.size());
            let memory = wiping.realloc(memory, small, large.size());
            assert_eq!(std::slice::from_raw_parts(memory, small.size()), [0x5a; 4000], "moved with its contents");
            memory.write_bytes(0x5a, large.size());
            wiping.dealloc(memory, large);
            let memory = wiping.alloc_zeroed(small);
            assert_eq!(std::slice::from_raw_parts(memory, small.size()), [0; 4000]);
            memory.write_bytes(0x5a, small.size());
            wiping.dealloc(memory, small);
        }
        assert_eq!(wiping.0.returned.take(), [(4000, true), (60_000, true), (4000, true)]);
        assert!(!wiping.0.moved_unseen.get(), "a block that the allocator behind it moves leaves a copy");
    }

    #[test]
    fn the_heap_is_served_by_the_allocator_that_wipes() {
        assert_eq!(count::of(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
    }
}
