//! Recording every frame on every port of the fabric, and judging what it is.
//!
//! A [`Capture`] runs while things happen; stopping it gives a [`Recording`], which is searched, written as a pcap file, or judged
//! by a [`Classifier`]. There is no filter between the wire and the recording, and frames that were lost are counted: a
//! recording with losses proves nothing.

mod classify;
mod frame;
mod packet;
mod pcap;
mod socket;
mod tls;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

pub use classify::{Class, Classifier, Ports, Verdict};
pub use frame::{Direction, Frame, SegmentSize};

use crate::error::LabError;
use crate::lab::Lab;
use crate::limits;
use crate::network;

/// A recording that is going on.
#[derive(Debug)]
pub struct Capture {
    /// Dropped to end the thread.
    stop: OwnedFd,
    thread: JoinHandle<Result<Recording, LabError>>,
}

/// Every frame that crossed a port of the fabric while a capture ran.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// In the order of their arrival. What one host sends to another is here twice: as it came in and as it went out.
    pub frames: Vec<Frame>,
    /// How many frames are missing, for want of memory or of speed.
    pub lost: u64,
}

impl Lab {
    /// Begins to record all ports of the fabric, also those that appear later.
    pub fn capture(&self) -> Result<Capture, LabError> {
        let fabric = network::namespace_of(self.lock()?.fabric()?);
        let (stopped, stop) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| LabError::system("make a pipe", error))?;
        let (tell_begun, begun) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            let socket = match socket::PacketSocket::open(&fabric) {
                Ok(socket) => socket,
                Err(error) => {
                    // The receiver is told by the closed channel and asks the thread itself.
                    drop(tell_begun);
                    return Err(error);
                }
            };
            let _ = tell_begun.send(());
            socket.record(&stopped, limits::CAPTURE_BYTES)
        });
        let thread = thread.map_err(|error| LabError::system("start a thread", error))?;
        let capture = Capture { stop, thread };
        match begun.recv() {
            Ok(()) => Ok(capture),
            Err(_) => Err(capture.stop().err().unwrap_or_else(|| LabError::Invalid("the capture did not begin".into()))),
        }
    }
}

impl Capture {
    /// Ends the recording; what has crossed a port until now is in it.
    pub fn stop(self) -> Result<Recording, LabError> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(LabError::Invalid("the capture has panicked".into())))
    }
}

impl Recording {
    /// Judges every frame.
    pub fn judge(&self, ports: Ports) -> Verdict {
        Classifier::judge(ports, self)
    }

    /// The first frame that has these bytes anywhere in it.
    pub fn find(&self, marker: &[u8]) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.bytes.windows(marker.len()).any(|window| window == marker))
    }

    /// Writes it for `tcpdump -r` and the like.
    pub fn write_pcap(&self, path: &Path) -> Result<(), LabError> {
        pcap::write(self, path).map_err(|error| LabError::file("write", path, error))
    }
}
