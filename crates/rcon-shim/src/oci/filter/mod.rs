//! The system call filter, from the OCI profile to the kernel.
//!
//! libcontainer's own loader is not used: it hands libseccomp a masked comparison with mask and value exchanged (so that `clone` would
//! never match), drops the filter for `exec`, and lets a system call that libseccomp does not know yet answer the profile's EPERM, which
//! makes newer C libraries fail instead of falling back. Here such calls answer ENOSYS, and the program is assembled by [`program`];
//! libseccomp tells the numbers of names.

mod program;
#[cfg(test)]
mod tests;

use libseccomp::{ScmpArch, ScmpSyscall};
use nix::errno::Errno;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use thiserror::Error;

use program::{Comparison, Condition, Instruction, Profile, Rule, Table};

/// From 424 on, all architectures number new system calls alike (asm-generic/unistd.h): what is above the highest known number is newer.
const FIRST_COMMON_NUMBER: u32 = 424;

/// The bit that marks calls of the x32 ABI, which shares its architecture token with x86_64.
const X32_BIT: u32 = 0x4000_0000;

/// The kernel's limit of instructions (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;

/// Calls of 32-bit x86 that can be made directly or through socketcall and ipc; libseccomp tells only that there are two ways.
/// Numbers of arch/x86/entry/syscalls/syscall_32.tbl.
const X86_DIRECT: [(&str, u32); 27] = [
    ("recvmmsg", 337),
    ("sendmmsg", 345),
    ("socket", 359),
    ("socketpair", 360),
    ("bind", 361),
    ("connect", 362),
    ("listen", 363),
    ("accept4", 364),
    ("getsockopt", 365),
    ("setsockopt", 366),
    ("getsockname", 367),
    ("getpeername", 368),
    ("sendto", 369),
    ("sendmsg", 370),
    ("recvfrom", 371),
    ("recvmsg", 372),
    ("shutdown", 373),
    ("semget", 393),
    ("semctl", 394),
    ("shmget", 395),
    ("shmctl", 396),
    ("shmat", 397),
    ("shmdt", 398),
    ("msgget", 399),
    ("msgsnd", 400),
    ("msgrcv", 401),
    ("msgctl", 402),
];

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum FilterError {
    /// An action or architecture that containers of ours do not have.
    #[error("the seccomp profile asks for {what}, which is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// More than the kernel takes.
    #[error("the seccomp filter has {instructions} instructions, at most {MAX_INSTRUCTIONS} are allowed")]
    TooLong {
        /// How many.
        instructions: usize,
    },
    /// The kernel refused it.
    #[error("the kernel refused the seccomp filter")]
    Load {
        /// Why.
        #[source]
        source: Errno,
    },
}

/// A program for the kernel.
#[derive(Debug, Clone)]
pub struct Filter {
    instructions: Vec<libc::sock_filter>,
}

impl Filter {
    /// Translates a profile; touches nothing.
    pub fn compile(profile: &LinuxSeccomp) -> Result<Self, FilterError> {
        let instructions = program::assemble(&resolve(profile)?);
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(FilterError::TooLong { instructions: instructions.len() });
        }
        let instructions = instructions.iter().map(|&Instruction { code, jt, jf, k }| libc::sock_filter { code, jt, jf, k }).collect();
        Ok(Self { instructions })
    }

    /// Puts it on this process, for good. Needs CAP_SYS_ADMIN or `no_new_privs`.
    #[allow(unsafe_code)]
    pub fn load(&self) -> Result<(), FilterError> {
        let len = u16::try_from(self.instructions.len()).map_err(|_| FilterError::TooLong { instructions: self.instructions.len() })?;
        let program = libc::sock_fprog { len, filter: self.instructions.as_ptr().cast_mut() };
        // Without the flag, kernels before 5.16 slow the process down by mitigations that runc does not ask for either; older than 4.17 refuse it.
        for flags in [libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0] {
            // SAFETY: `program` points to `len` instructions that outlive the call; the kernel copies and checks them.
            let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
            if result == 0 {
                return Ok(());
            }
            if Errno::last() != Errno::EINVAL {
                break;
            }
        }
        Err(FilterError::Load { source: Errno::last() })
    }
}

/// The profile by numbers.
fn resolve(profile: &LinuxSeccomp) -> Result<Profile, FilterError> {
    let default = verdict(profile.default_action(), profile.default_errno_ret())?;
    let mut tables: Vec<(u32, Table)> = Vec::new();
    for arch in profile.architectures().iter().flatten() {
        let abi = Abi::of(*arch)?;
        let table = abi_table(profile, &abi)?;
        // Two ABIs of one token (x86_64 and x32) share a section; their numbers do not meet.
        match tables.iter_mut().find(|(token, _)| *token == abi.token) {
            Some((_, shared)) => {
                shared.rules.extend(table.rules);
                shared.unknown.extend(table.unknown);
            }
            None => tables.push((abi.token, table)),
        }
    }
    let errno = |number: i32| libc::SECCOMP_RET_ERRNO | u32::try_from(number).unwrap_or(0);
    Ok(Profile { tables, default, unknown: errno(libc::ENOSYS), foreign: libc::SECCOMP_RET_KILL_THREAD })
}

fn abi_table(profile: &LinuxSeccomp, abi: &Abi) -> Result<Table, FilterError> {
    let mut table = Table::default();
    for rule in profile.syscalls().iter().flatten() {
        let verdict = verdict(rule.action(), rule.errno_ret())?;
        let conditions: Vec<Condition> = rule.args().iter().flatten().map(condition).collect();
        for number in rule.names().iter().filter_map(|name| abi.number(name)) {
            let entry: &mut Rule = table.rules.entry(number).or_default();
            if conditions.is_empty() {
                entry.otherwise = Some(verdict);
            } else {
                entry.cases.push((conditions.clone(), verdict));
            }
        }
    }
    let highest = table.rules.last_key_value().map(|(number, _)| *number);
    if let Some(highest) = highest.filter(|number| number - abi.first >= FIRST_COMMON_NUMBER) {
        table.unknown.push((highest + 1, abi.last));
    }
    Ok(table)
}

/// One way of calling the kernel.
struct Abi {
    /// `AUDIT_ARCH_*` of linux/audit.h.
    token: u32,
    /// libseccomp's name for it.
    names: ScmpArch,
    /// Its first and last number.
    first: u32,
    last: u32,
    /// Numbers that libseccomp does not tell.
    direct: &'static [(&'static str, u32)],
}

impl Abi {
    fn of(arch: Arch) -> Result<Self, FilterError> {
        // The OCI's values are those of linux/audit.h, but for x32, which has no token of its own.
        let plain = |names| Self { token: arch as u32, names, first: 0, last: u32::MAX, direct: &[] };
        Ok(match arch {
            Arch::ScmpArchNative if cfg!(target_arch = "x86_64") => return Self::of(Arch::ScmpArchX86_64),
            Arch::ScmpArchNative if cfg!(target_arch = "aarch64") => return Self::of(Arch::ScmpArchAarch64),
            Arch::ScmpArchX86_64 => Self { last: X32_BIT - 1, ..plain(ScmpArch::X8664) },
            Arch::ScmpArchX32 => Self { token: Arch::ScmpArchX86_64 as u32, first: X32_BIT, ..plain(ScmpArch::X32) },
            Arch::ScmpArchX86 => Self { direct: &X86_DIRECT, ..plain(ScmpArch::X86) },
            Arch::ScmpArchAarch64 => plain(ScmpArch::Aarch64),
            Arch::ScmpArchArm => plain(ScmpArch::Arm),
            Arch::ScmpArchRiscv64 => plain(ScmpArch::Riscv64),
            other => return Err(FilterError::Unsupported { what: format!("the architecture {other:?}") }),
        })
    }

    /// None where the ABI does not have the call, or libseccomp does not know it yet.
    fn number(&self, name: &str) -> Option<u32> {
        if let Some((_, number)) = self.direct.iter().find(|(direct, _)| *direct == name) {
            return Some(*number);
        }
        // Calls of other ABIs have negative numbers.
        let number = u32::try_from(i32::from(ScmpSyscall::from_name_by_arch(name, self.names).ok()?)).ok()?;
        (self.first..=self.last).contains(&number).then_some(number)
    }
}

/// OCI's `value` is the mask and `valueTwo` what must remain.
fn condition(arg: &LinuxSeccompArg) -> Condition {
    let (comparison, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (Comparison::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Comparison::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Comparison::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (Comparison::Masked { mask: u64::MAX }, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Comparison::GreaterOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Comparison::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (Comparison::Masked { mask: arg.value() }, arg.value_two().unwrap_or(0)),
    };
    Condition { index: u32::try_from(arg.index()).unwrap_or(u32::MAX), comparison, value }
}

fn verdict(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, FilterError> {
    const EPERM: u32 = 1;
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActErrno => libc::SECCOMP_RET_ERRNO | (errno.unwrap_or(EPERM) & libc::SECCOMP_RET_DATA),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActLog => libc::SECCOMP_RET_LOG,
        other => return Err(FilterError::Unsupported { what: format!("the action {other:?}") }),
    })
}
