//! Kernel settings below `/proc/sys`; those of the network are the calling thread's namespace's.

use std::{fs, io, path::PathBuf};

/// Writes a setting, e.g. `net/ipv4/ip_forward`.
pub(crate) fn write(key: &str, value: &str) -> io::Result<()> {
    fs::write(path(key), value)
}

/// Writes a setting; a kernel that does not have it is left alone.
pub(crate) fn write_if_present(key: &str, value: &str) -> io::Result<()> {
    match write(key, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads a setting; `None` where the kernel does not have it.
pub(crate) fn read(key: &str) -> Option<String> {
    fs::read_to_string(path(key)).ok().map(|text| text.trim().to_owned())
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}
