//! A lab: several hosts on one machine, each a set of namespaces with a real `rcond` in it, joined by a fabric that can be made
//! to fail.
//!
//! A host has network, mount, PID, UTS and cgroup namespaces of its own, a private `/run`, and a first process that only
//! reaps. Killing that process is the power-off. The fabric is made the same way, with a bridge inside. What flows in are calls
//! of the tests, of the demo and of `./dev lab`; what flows out are namespaces, processes and recorded frames. A lab never touches the machine's own addresses,
//! devices, firewall or cgroups, and takes itself down whole also after a crash: every process of it is in its cgroups.
//!
//! [`Lab`] makes the hosts, runs commands on them and inflicts their faults; [`capture`] records and judges what the fabric carries.

mod binaries;
mod boot;
pub mod capture;
pub mod cgroup;
mod command;
mod daemon;
mod disk;
mod errand;
mod error;
mod faults;
mod lab;
pub mod limits;
pub mod network;
mod options;
pub mod process;
mod record;
pub mod role;
pub mod rootfs;
pub mod wait;

pub use binaries::Binaries;
pub use errand::Finished;
pub use error::LabError;
pub use faults::Direction;
pub use lab::{FabricStatus, HostStatus, Lab, Status};
pub use options::{DIRECTORY_VARIABLE, Daemon, DataDisk, HostOptions, ID_VARIABLE, LabName, LabOptions};
