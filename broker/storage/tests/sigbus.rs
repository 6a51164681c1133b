//! A SIGBUS in a mapped file names the file and the offset and ends the process with the exit code for failed storage.
//!
//! The faulting part runs in a child process: this test binary again, with the name of the scene in the environment.

#![cfg(target_os = "linux")]

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::{Disk, Growth};

const SCENE: &str = "CAIRN_TEST_SIGBUS_SCENE";
const FOLDER: &str = "CAIRN_TEST_SIGBUS_FOLDER";

/// Not a test by itself: what the child processes do.
#[test]
fn scene() {
    let Ok(scene) = std::env::var(SCENE) else { return };
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("the parent gives a folder"));
    let path = folder.join("00000000000000000000.log");
    let disk = MappedDisk::new(MappedLimits::default()).expect("a kernel that populates maps");
    match scene.as_str() {
        "append" => {
            let mut file = disk.create_append(&path, Growth::up_to(1 << 20)).unwrap();
            file.shared().prepare(200_000).unwrap();
            file.append(&[&[1; 150_000]]).unwrap();
            let slice = file.shared().slice(1_000..150_000).unwrap();
            OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
            println!("{}", slice[120_000]);
        }
        "sealed" => {
            disk.write_at(&path, 0, &[1; 150_000]).unwrap();
            let slice = disk.open_sealed(&path).unwrap().slice(0..150_000).unwrap();
            disk.truncate(&path, 4096).unwrap();
            // On a thread of its own: each has its own alternate stack.
            std::thread::spawn(move || println!("{}", slice[100_000])).join().unwrap();
        }
        "deep" => {
            disk.write_at(&path, 0, &[1; 150_000]).unwrap();
            let slice = disk.open_sealed(&path).unwrap().slice(0..150_000).unwrap();
            disk.truncate(&path, 4096).unwrap();
            std::thread::spawn(move || println!("{}", touch_deep(stack_end() + ROOM_BYTES, &slice))).join().unwrap();
        }
        "foreign" => {
            disk.write_at(&path, 0, &[1; 150_000]).unwrap();
            let _slice = disk.open_sealed(&path).unwrap().slice(0..150_000).unwrap();
            std::fs::write(folder.join("foreign"), [1; 50_000]).unwrap();
            let file = OpenOptions::new().read(true).write(true).open(folder.join("foreign")).unwrap();
            let map = foreign_map(&file);
            file.set_len(0).unwrap();
            println!("{}", map[20_000]);
        }
        other => panic!("no scene {other}"),
    }
    unreachable!("the memory behind the file's end was readable");
}

/// Less than a signal's frame needs.
const ROOM_BYTES: usize = 1_024;

/// Uses up the stack down to `until`, then touches what is not there.
fn touch_deep(until: usize, slice: &[u8]) -> u8 {
    let here = std::hint::black_box([0u8; 16]);
    if here.as_ptr().addr() < until {
        return slice[100_000];
    }
    touch_deep(until, slice).wrapping_add(std::hint::black_box(here)[0])
}

/// The lowest address of this thread's stack.
#[expect(unsafe_code, reason = "only the C library knows")]
fn stack_end() -> usize {
    // SAFETY: the attributes are filled by the first call before the second reads them, and freed once.
    unsafe {
        let mut attributes = std::mem::zeroed();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes), 0);
        let (mut start, mut len) = (std::ptr::null_mut(), 0);
        assert_eq!(libc::pthread_attr_getstack(&raw const attributes, &raw mut start, &raw mut len), 0);
        libc::pthread_attr_destroy(&raw mut attributes);
        start.addr()
    }
}

#[expect(unsafe_code, reason = "a map that storage does not know of")]
fn foreign_map(file: &std::fs::File) -> memmap2::Mmap {
    // SAFETY: it is the point of the scene that the file is cut under the map; the process ends there.
    unsafe { memmap2::Mmap::map(file) }.unwrap()
}

fn play(scene: &str) -> (Output, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scene", "--nocapture"])
        .env(SCENE, scene)
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    (output, folder.path().join("00000000000000000000.log"))
}

#[test]
fn a_cut_file_that_takes_appends_is_named() {
    let (output, path) = play("append");
    let expected = format!("fatal: SIGBUS: the disk failed at offset 121000 of {}\n", path.display());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&expected), "{text}");
    assert_eq!(output.status.code(), Some(cairn_storage::sigbus::EXIT_STORAGE_FAILED));
}

#[test]
fn a_cut_sealed_file_is_named() {
    let (output, path) = play("sealed");
    let expected = format!("fatal: SIGBUS: the disk failed at offset 100000 of {}\n", path.display());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&expected), "{text}");
    assert_eq!(output.status.code(), Some(cairn_storage::sigbus::EXIT_STORAGE_FAILED));
}

#[test]
fn the_handler_needs_no_room_on_the_stack() {
    let (output, path) = play("deep");
    let expected = format!("fatal: SIGBUS: the disk failed at offset 100000 of {}\n", path.display());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&expected), "{:?}: {text}", output.status);
    assert_eq!(output.status.code(), Some(cairn_storage::sigbus::EXIT_STORAGE_FAILED));
}

#[test]
fn a_foreign_sigbus_kills_as_ever() {
    let (output, _) = play("foreign");
    assert_eq!(output.status.signal(), Some(7), "SIGBUS, {:?}", output.status);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("the disk failed"));
}
