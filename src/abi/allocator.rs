//! The plugin's heap: memory is wiped when it is returned.
//!
//! The AWS client cannot be told to wipe its buffers, and the answer of a Decrypt call goes through several of them with
//! the data key in it. Without this, copies of keys lie in freed memory, and so in a core dump of the server. The
//! allocator serves the plugin's own code and the libraries in it, not the server; the callbacks for pages and logs use
//! no heap.

use std::alloc::{GlobalAlloc, Layout, System};

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

struct Wiping;

// SAFETY: all memory is that of the system's allocator, with the layout that was asked for. `alloc_zeroed` and `realloc` are
// the trait's own, which allocate, and zero or copy and deallocate, by the functions here.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(test)]
        count::one();
        // SAFETY: the layout is as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // Miri, an interpreter that some of the tests run in, does not have the function.
        if !cfg!(miri) {
            // Not an ordinary write, which the compiler may leave out before memory is freed.
            // SAFETY: a block of this layout, which nobody uses any more, as the caller promises.
            unsafe { libc::explicit_bzero(memory.cast(), layout.size()) };
        }
        // SAFETY: it came from the system's allocator with this layout.
        unsafe { System.dealloc(memory, layout) };
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

#[cfg(all(test, not(miri)))] // miri sees the read of freed memory, and objects
mod tests {
    #[test]
    fn memory_is_wiped_when_it_is_returned_and_when_it_moves() {
        let mark = |vec: &Vec<u8>| (vec.as_ptr().addr(), vec.capacity());
        // Large enough to be looked for; freed blocks of this size stay mapped and begin with a few bytes of the
        // allocator's own.
        let mut secret = vec![0x5a_u8; 4000];
        let places = [mark(&secret), {
            secret.reserve_exact(60_000);
            mark(&secret)
        }];
        drop(secret);
        for (start, length) in places {
            let freed = std::fs::File::open("/proc/self/mem").expect("the own memory");
            let mut bytes = vec![0; length];
            std::os::unix::fs::FileExt::read_exact_at(&freed, &mut bytes, start as u64).expect("still mapped");
            assert!(!bytes.windows(16).any(|part| part == [0x5a; 16]), "found at {start:x}");
        }
    }
}
