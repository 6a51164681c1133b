//! The last line of defence of mapped files: a SIGBUS says which file and offset it hit, then the process ends.
//!
//! Every map registers itself in a fixed table that the handler can read without a lock or an allocation. The handler
//! runs on the thread's alternate stack, which Rust's runtime makes for every thread that it starts.
//!
//! Must not know: what is in the files.

#![allow(unsafe_code, reason = "a signal handler, and the table that it reads")]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The exit code of a process whose storage failed.
pub const EXIT_STORAGE_FAILED: i32 = 4;

/// How many maps the table holds: the kernel's default of `vm.max_map_count`. Further maps go unnamed.
const SLOTS: usize = 65_536;

struct Slot {
    /// The map's first byte; 0 while the slot is free.
    start: AtomicUsize,
    end: AtomicUsize,
    name: AtomicPtr<Box<[u8]>>,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), name: AtomicPtr::new(ptr::null_mut()) } };
        SLOTS];
/// Slots at and above this one were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Slots below [`USED`] that are free again.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// A map's entry in the table; it ends when dropped, which must be before the memory is unmapped.
#[derive(Debug)]
pub(crate) struct Registered {
    slot: Option<usize>,
}

/// Names the memory of `len` bytes at `start` for the handler.
pub(crate) fn register(start: *const u8, len: usize, path: &Path) -> Registered {
    install();
    let mut free = FREE.lock();
    let Some(index) = free.pop().or_else(|| {
        let next = USED.load(Ordering::Relaxed);
        (next < SLOTS).then(|| {
            USED.store(next + 1, Ordering::Release);
            next
        })
    }) else {
        return Registered { slot: None };
    };
    drop(free);
    let slot = &TABLE[index];
    let name: Box<[u8]> = path.as_os_str().as_bytes().into();
    slot.name.store(Box::into_raw(Box::new(name)), Ordering::Release);
    slot.end.store(start.addr() + len, Ordering::Release);
    slot.start.store(start.addr(), Ordering::Release);
    Registered { slot: Some(index) }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(index) = self.slot else { return };
        let slot = &TABLE[index];
        slot.start.store(0, Ordering::Release);
        slot.end.store(0, Ordering::Release);
        let name = slot.name.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: `register` made it by `Box::into_raw`, and this is its only owner. The handler follows it only when the
        // address that it looks for lies in this map, and then somebody touches the map, so it is not being dropped.
        drop(unsafe { Box::from_raw(name) });
        FREE.lock().push(index);
    }
}

/// Installs the handler, once per process. The first map does it by itself.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the action is whole (zeroed flags and mask are valid), and `handle` keeps to what a handler may do.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut())
        };
        if result != 0 {
            tracing::error!(error = %io::Error::last_os_error(), "install the SIGBUS handler");
        }
    });
}

/// Runs on the alternate stack. Only async-signal-safe calls: `write`, `_exit`, `signal`.
extern "C" fn handle(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel gives a valid siginfo to a handler with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() }.addr();
    for slot in &TABLE[..USED.load(Ordering::Acquire).min(SLOTS)] {
        let start = slot.start.load(Ordering::Acquire);
        let end = slot.end.load(Ordering::Acquire);
        if start == 0 || address < start || address >= end {
            continue;
        }
        write_error(b"fatal: SIGBUS: the disk failed at offset ");
        let mut digits = [0u8; 20];
        write_error(decimal(address - start, &mut digits));
        write_error(b" of ");
        // SAFETY: non-null names live as long as their slot, and this slot's map is being touched by this thread.
        if let Some(name) = unsafe { slot.name.load(Ordering::Acquire).as_ref() } {
            write_error(name);
        }
        write_error(b"\n");
        // SAFETY: ends the process at once, without running anything of it.
        unsafe { libc::_exit(EXIT_STORAGE_FAILED) };
    }
    // Not ours. The default action ends the process as soon as the instruction runs again.
    // SAFETY: `signal` is async-signal-safe.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

fn write_error(text: &[u8]) {
    // SAFETY: the pointer and length are those of a live slice. What cannot be written is lost: there is no way to say so.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

/// The decimal digits of `value`, without allocating.
fn decimal(mut value: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_digits() {
        let mut digits = [0; 20];
        assert_eq!(decimal(0, &mut digits), b"0");
        assert_eq!(decimal(65_536, &mut digits), b"65536");
        assert_eq!(decimal(usize::MAX, &mut digits), usize::MAX.to_string().as_bytes());
    }
}
