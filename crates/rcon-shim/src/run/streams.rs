//! The shim's ends of a process' standard streams.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::pipe2,
};
use rcon_oci::{log::LogStream, shim::MAX_DATA_BYTES};

/// How much input waits for a process before its sender has to.
pub const MAX_PENDING_INPUT_BYTES: usize = 256 * 1024;

/// Ctrl-D: what ends the input of a terminal.
const END_OF_TRANSMISSION: u8 = 4;

/// The streams of one process.
#[derive(Debug, Default)]
pub struct Streams {
    /// To the process.
    pub input: Input,
    /// From it; a terminal has one.
    pub outputs: Vec<Output>,
    /// The terminal, for its size.
    pub terminal: Option<OwnedFd>,
}

/// The process' ends, given to the OCI runtime.
pub struct ProcessEnds {
    /// Its standard input; absent: `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Its standard output.
    pub stdout: Option<OwnedFd>,
    /// Its standard error.
    pub stderr: Option<OwnedFd>,
}

impl Streams {
    /// Three pipes, or two where there is no input.
    pub fn pipes(with_input: bool) -> io::Result<(Self, ProcessEnds)> {
        let (stdout, stdout_end) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr, stderr_end) = pipe2(OFlag::O_CLOEXEC)?;
        let mut ends = ProcessEnds { stdin: None, stdout: Some(stdout_end), stderr: Some(stderr_end) };
        let mut input = Input::default();
        if with_input {
            let (stdin_end, stdin) = pipe2(OFlag::O_CLOEXEC)?;
            ends.stdin = Some(stdin_end);
            input = Input::new(stdin, false)?;
        }
        let outputs = vec![Output::new(stdout, LogStream::Stdout)?, Output::new(stderr, LogStream::Stderr)?];
        Ok((Self { input, outputs, terminal: None }, ends))
    }

    /// A terminal, by its master.
    pub fn terminal(master: OwnedFd) -> io::Result<Self> {
        let input = Input::new(master.try_clone()?, true)?;
        let outputs = vec![Output::new(master.try_clone()?, LogStream::Stdout)?];
        Ok(Self { input, outputs, terminal: Some(master) })
    }

    /// Whether all output was read.
    pub fn drained(&self) -> bool {
        self.outputs.iter().all(|output| output.fd.is_none())
    }
}

/// Towards a process: what it has not taken yet waits here.
#[derive(Debug, Default)]
pub struct Input {
    fd: Option<File>,
    terminal: bool,
    pending: VecDeque<u8>,
    closing: bool,
}

impl Input {
    fn new(fd: OwnedFd, terminal: bool) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        Ok(Self { fd: Some(File::from(fd)), terminal, pending: VecDeque::new(), closing: false })
    }

    /// Whether anything can still be sent.
    pub fn is_open(&self) -> bool {
        self.fd.is_some() && !self.closing
    }

    /// Whether senders should wait.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= MAX_PENDING_INPUT_BYTES
    }

    /// The descriptor to wait for, while something waits to be taken.
    pub fn wants_write(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.pending.is_empty()).map(File::as_fd)
    }

    /// Sends; what follows a close is dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.pending.extend(bytes);
            self.flush();
        }
    }

    /// Closes once everything is taken.
    pub fn close(&mut self) {
        if self.terminal && self.is_open() {
            self.pending.push_back(END_OF_TRANSMISSION);
        }
        self.closing = !self.terminal;
        self.flush();
    }

    /// Hands over what the process takes now; a process that reads no more closes the stream.
    pub fn flush(&mut self) {
        while let (Some(file), false) = (&mut self.fd, self.pending.is_empty()) {
            match file.write(self.pending.as_slices().0) {
                Ok(taken) => drop(self.pending.drain(..taken)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.pending.clear();
                    self.fd = None;
                }
            }
        }
        if self.closing {
            self.fd = None;
        }
    }
}

/// From a process.
#[derive(Debug)]
pub struct Output {
    fd: Option<File>,
    /// Which of its streams.
    pub stream: LogStream,
}

/// What [`Output::read`] found.
pub enum Chunk {
    /// So many bytes.
    Data(usize),
    /// Nothing now.
    Nothing,
    /// No more, for ever.
    End,
}

impl Output {
    fn new(fd: OwnedFd, stream: LogStream) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        Ok(Self { fd: Some(File::from(fd)), stream })
    }

    /// The descriptor to wait for, until the end.
    pub fn wants_read(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(File::as_fd)
    }

    /// Reads what is there.
    pub fn read(&mut self, buffer: &mut [u8; MAX_DATA_BYTES]) -> Chunk {
        let Some(file) = &mut self.fd else { return Chunk::End };
        loop {
            return match file.read(buffer) {
                Ok(len) if len > 0 => Chunk::Data(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Chunk::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal whose last process is gone answers EIO.
                Ok(_) | Err(_) => {
                    self.fd = None;
                    Chunk::End
                }
            };
        }
    }

    /// Reads no more.
    pub fn close(&mut self) {
        self.fd = None;
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
