//! Terminals: the socket on which the OCI runtime hands over the master, and its size.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use rcon_oci::shim::WindowSize;

use super::error::RunError;

/// The runtime has sent the terminal before it ends; more than this is a failure.
const TERMINAL_DEADLINE_MS: u16 = 5_000;

/// Listens for one terminal; the socket goes with it.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// A socket of that name in `directory`.
    pub fn bind(directory: &Path, name: &str) -> Result<Self, RunError> {
        let path = directory.join(name);
        let listener = bind_in(directory, name).map_err(|source| RunError::File { action: "listen on", path: path.clone(), source })?;
        Ok(Self { listener, path })
    }

    /// What to tell the runtime.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal's master.
    pub fn receive(self) -> Result<OwnedFd, RunError> {
        readable(&self.listener)?;
        let (connection, _) = self.listener.accept().map_err(|source| RunError::System { action: "take the terminal", source })?;
        readable(&connection)?;
        receive_descriptor(&connection)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds in a directory whose path may be longer than a socket's address allows.
pub fn bind_in(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let handle = fs::File::open(directory)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", handle.as_raw_fd()))
}

fn readable(socket: &impl AsFd) -> Result<(), RunError> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(TERMINAL_DEADLINE_MS)) {
        Ok(0) => Err(RunError::NoTerminal),
        Ok(_) => Ok(()),
        Err(errno) => Err(RunError::System { action: "wait for the terminal", source: errno.into() }),
    }
}

#[allow(unsafe_code)]
fn receive_descriptor(connection: &UnixStream) -> Result<OwnedFd, RunError> {
    let mut text = [0; 512];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut text)];
    let message = recvmsg::<()>(connection.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
        .map_err(|errno| RunError::System { action: "take the terminal", source: errno.into() })?;
    let messages = message.cmsgs().map_err(|errno| RunError::System { action: "take the terminal", source: errno.into() })?;
    let found = messages.into_iter().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    found.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).ok_or(RunError::NoTerminal)
}

/// Sets a terminal's size; its processes get SIGWINCH.
#[allow(unsafe_code)]
pub fn resize(terminal: &OwnedFd, size: WindowSize) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one `winsize`, which outlives the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
