//! TAP interfaces: opened by name in the overlay namespace, then read and written as files.

#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::atomic::{AtomicU64, Ordering},
};

use rcon_packet::{
    flow,
    merge::{MAX_SLICES, Output},
    virtio::VnetHeader,
};
use rcon_types::Vni;

use crate::TunnelError;

/// `TUNSETOFFLOAD` flags of `include/uapi/linux/if_tun.h`.
const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
const TUN_F_TSO_ECN: libc::c_uint = 0x08;
const TUN_F_USO4: libc::c_uint = 0x20;
const TUN_F_USO6: libc::c_uint = 0x40;

/// Offers to the kernel, the best first; those with USO need Linux 6.2.
const OFFLOADS: [libc::c_uint; 2] =
    [TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN];

/// One TAP with its queues.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) vni: Vni,
    pub(crate) name: String,
    queues: Vec<File>,
    pub(crate) frames_out: AtomicU64,
    pub(crate) frames_in: AtomicU64,
}

impl Tap {
    /// Attaches to the interface, or makes it, with up to `queues` queues. Must run in the overlay namespace: elsewhere the
    /// same name would silently be another interface.
    ///
    /// One that was made without multiple queues is taken as it is, with one.
    pub(crate) fn open(vni: Vni, name: &str, queues: usize) -> Result<Self, TunnelError> {
        let mut files = Vec::with_capacity(queues);
        for _ in 0..queues {
            match attach(name, true) {
                Ok(file) => files.push(file),
                Err(error) if files.is_empty() && error.raw_os_error() == Some(libc::EINVAL) => {
                    files.push(attach(name, false).map_err(failure(name, "attach to"))?);
                    break;
                }
                // One queue less than wished for is no reason to fail.
                Err(error) if !files.is_empty() => {
                    tracing::warn!(tap = name, %error, queues = files.len(), "the TAP has fewer queues than there are threads");
                    break;
                }
                Err(error) => return Err(failure(name, "attach to")(error)),
            }
        }
        Self::from_files(vni, name, files)
    }

    /// The same from descriptors that a predecessor has passed on.
    pub(crate) fn adopt(vni: Vni, name: &str, queues: Vec<OwnedFd>) -> Result<Self, TunnelError> {
        Self::from_files(vni, name, queues.into_iter().map(File::from).collect())
    }

    fn from_files(vni: Vni, name: &str, queues: Vec<File>) -> Result<Self, TunnelError> {
        let first = queues.first().ok_or_else(|| failure(name, "attach to")(io::ErrorKind::NotFound.into()))?;
        set_up(first).map_err(failure(name, "set up"))?;
        Ok(Self { vni, name: name.to_owned(), queues, frames_out: AtomicU64::new(0), frames_in: AtomicU64::new(0) })
    }

    /// Whether the interface is still there: one that was deleted leaves its descriptors behind.
    pub(crate) fn is_attached(&self) -> bool {
        // SAFETY: `ifreq` is plain data, for which all zeros is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, TUNGETIFF writes one `ifreq`, which lives longer than the call.
        check(unsafe { libc::ioctl(self.queues[0].as_raw_fd(), libc::TUNGETIFF as _, &raw mut request) }).is_ok()
    }

    /// How many queues there are.
    pub(crate) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// The descriptor of a queue, if there is that one.
    pub(crate) fn queue(&self, queue: usize) -> Option<BorrowedFd<'_>> {
        self.queues.get(queue).map(AsFd::as_fd)
    }

    /// Takes one frame with its virtio header; `WouldBlock` where none waits.
    pub(crate) fn read(&self, queue: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.queues[queue]).read(buffer)?;
        self.frames_out.fetch_add(1, Ordering::Relaxed);
        Ok(read)
    }

    /// Hands merged or single frames to the kernel.
    pub(crate) fn write_output(&self, output: &Output, buffer: &[u8]) -> io::Result<()> {
        let slice = |range: &Range<usize>| IoSlice::new(&buffer[range.clone()]);
        let queue = self.queue_for(output, buffer);
        let header = IoSlice::new(output.header());
        if let [only] = output.slices() {
            return self.write_vectored(queue, &[header, slice(only)]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES + 1];
        slices[0] = header;
        for (slot, range) in slices[1..].iter_mut().zip(output.slices()) {
            *slot = slice(range);
        }
        self.write_vectored(queue, &slices[..=output.slices().len()])
    }

    /// Hands one frame to the kernel, complete as it is.
    pub(crate) fn write_frame(&self, frame: &[u8]) -> io::Result<()> {
        self.write_vectored(0, &[IoSlice::new(&VnetHeader::default().encode()), IoSlice::new(frame)])
    }

    fn write_vectored(&self, queue: usize, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let written = (&self.queues[queue]).write_vectored(slices)?;
        // A TAP takes a frame whole or not at all.
        debug_assert_eq!(written, slices.iter().map(|slice| slice.len()).sum::<usize>());
        self.frames_in.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The kernel sends a flow out by the queue that its other direction came in by, so flows are spread here.
    fn queue_for(&self, output: &Output, buffer: &[u8]) -> usize {
        if self.queues.len() == 1 {
            return 0;
        }
        let merged = &output.header()[rcon_packet::virtio::LEN..];
        let headers = if merged.is_empty() { output.slices().first().map_or(merged, |range| &buffer[range.clone()]) } else { merged };
        usize::from(flow::symmetric(headers)) % self.queues.len()
    }
}

fn failure(name: &str, operation: &'static str) -> impl FnOnce(io::Error) -> TunnelError {
    move |source| TunnelError::Tap { name: name.to_owned(), operation, source }
}

/// One more queue of the interface.
fn attach(name: &str, multi_queue: bool) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open("/dev/net/tun")?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    // SAFETY: `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The name has at most IFNAMSIZ - 1 bytes (`ValidTables`), so a zero stays behind it.
    for (slot, byte) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, TUNSETIFF reads and writes one `ifreq`, which lives longer than the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    Ok(file)
}

/// Persistence, the length of the virtio header, and what the kernel may leave to us.
fn set_up(file: &File) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let header_len = libc::c_int::try_from(rcon_packet::virtio::LEN).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is an attached TAP, TUNSETPERSIST takes its argument by value.
    check(unsafe { libc::ioctl(fd, libc::TUNSETPERSIST as _, 1 as libc::c_ulong) })?;
    // SAFETY: the same, TUNSETVNETHDRSZ reads one int, which lives longer than the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ as _, &raw const header_len) })?;
    let mut result = Ok(());
    for offload in OFFLOADS {
        // SAFETY: the same, TUNSETOFFLOAD takes its argument by value.
        result = check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD as _, libc::c_ulong::from(offload)) });
        if result.is_ok() {
            break;
        }
    }
    result
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
