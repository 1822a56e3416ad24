//! TAPs of the userspace tunnel: made here, persistent and without a reader; the tunnel attaches to them by name.
#![allow(unsafe_code)]

use std::{fs::OpenOptions, io, os::fd::AsRawFd};

nix::ioctl_write_int!(tun_set_interface, b'T', 202);
nix::ioctl_write_int!(tun_set_persist, b'T', 203);

/// Makes a persistent TAP in the calling thread's namespace: several queues, `vnet_hdr`, no packet information.
pub(crate) fn create(name: &str) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is plain data, for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE | libc::IFF_TUN_EXCL;
    request.ifr_ifru.ifru_flags = i16::from_ne_bytes(u16::try_from(flags).unwrap_or(0).to_ne_bytes());
    let address = (&raw const request) as libc::c_ulong;
    // SAFETY: `address` is that of an `ifreq` that outlives the call, as TUNSETIFF demands; the descriptor is open.
    unsafe { tun_set_interface(device.as_raw_fd(), address) }?;
    // SAFETY: TUNSETPERSIST takes a number; the descriptor is open.
    unsafe { tun_set_persist(device.as_raw_fd(), 1) }?;
    Ok(())
}
