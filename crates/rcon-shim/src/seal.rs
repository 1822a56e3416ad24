//! Runs this program from a sealed copy in memory.
//!
//! A process that enters a container can be reached there as `/proc/<pid>/exe`; were that the file on disk, a container's root could
//! overwrite it. The daemon starts shims from one sealed memfd that all of them share; where somebody starts the file itself, it makes the
//! copy and starts over.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
};

/// MFD_EXEC of memfd.h: asks for an executable file where `vm.memfd_noexec` would deny it (Linux 6.3).
const MFD_EXEC: libc::c_uint = 0x10;

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL.union(SealFlag::F_SEAL_SHRINK).union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_WRITE);

/// Returns in a process that runs from a sealed copy; where it did not, this is another run of the same command line.
pub fn ensure_sealed() -> io::Result<()> {
    let mut own = File::open("/proc/self/exe")?;
    if is_sealed(&own) {
        return Ok(());
    }
    let mut copy = File::from(memfd()?);
    io::copy(&mut own, &mut copy)?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SEALS))?;
    let texts = |items: Vec<Vec<u8>>| items.into_iter().map(|item| CString::new(item).unwrap_or_default()).collect::<Vec<_>>();
    let args = texts(std::env::args_os().map(OsStringExt::into_vec).collect());
    let env = texts(std::env::vars_os().map(|(key, value)| [key.into_vec(), b"=".to_vec(), value.into_vec()].concat()).collect());
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    let never = nix::unistd::execve(&path, &args, &env)?;
    match never {}
}

fn is_sealed(file: &File) -> bool {
    // A file that is no memfd has no seals: EINVAL.
    fcntl(file, FcntlArg::F_GET_SEALS).is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}

#[allow(unsafe_code)]
fn memfd() -> io::Result<OwnedFd> {
    let plain = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    for flags in [plain | MFD_EXEC, plain] {
        // SAFETY: the name is a NUL-terminated literal, and the call has no other pointers.
        let fd = unsafe { libc::memfd_create(c"rcon-shim".as_ptr(), flags) };
        if fd >= 0 {
            // SAFETY: the descriptor was just made and belongs to nobody else.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        if Errno::last() != Errno::EINVAL {
            break;
        }
    }
    Err(io::Error::last_os_error())
}
