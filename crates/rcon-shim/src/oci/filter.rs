//! The system call filter, from the OCI profile to the kernel.
//!
//! libcontainer's own loader is not used: it hands libseccomp a masked comparison with mask and value exchanged (so that `clone` would
//! never match), drops the filter for `exec`, and lets a system call that libseccomp does not know yet answer the profile's EPERM, which
//! makes newer C libraries fail instead of falling back. Here such calls answer ENOSYS.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError};
use nix::{errno::Errno, sys::memfd::MFdFlags};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use thiserror::Error;

/// From 424 on, all architectures number new system calls alike (asm-generic/unistd.h), so one comparison serves all ABIs.
const FIRST_COMMON_NUMBER: i32 = 424;

/// The bit that marks calls of the x32 ABI.
const X32_BIT: u32 = 0x4000_0000;

/// The kernel's limit of instructions (BPF_MAXINSNS).
const MAX_INSTRUCTIONS: usize = 4096;

/// Why there is no filter.
#[derive(Debug, Error)]
pub enum FilterError {
    /// libseccomp refused the profile.
    #[error("the seccomp profile cannot be translated")]
    Translate {
        /// Why.
        #[source]
        source: SeccompError,
    },
    /// An action or architecture that containers of ours do not have.
    #[error("the seccomp profile asks for {what}, which is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// The program could not be taken over.
    #[error("the seccomp filter cannot be read back")]
    Export {
        /// Why.
        #[source]
        source: io::Error,
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
    /// Translates a profile; costs a millisecond and touches nothing.
    pub fn compile(profile: &LinuxSeccomp) -> Result<Self, FilterError> {
        let translate = |source| FilterError::Translate { source };
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        let mut context = ScmpFilterContext::new(default).map_err(translate)?;
        context.set_ctl_nnp(false).map_err(translate)?;
        for arch in profile.architectures().iter().flatten() {
            context.add_arch(architecture(*arch)?).map_err(translate)?;
        }
        let mut highest = None;
        for rule in profile.syscalls().iter().flatten() {
            let wanted = action(rule.action(), rule.errno_ret())?;
            for name in rule.names() {
                // A name that is unknown here cannot be allowed; its number is above `highest`.
                let Ok(call) = ScmpSyscall::from_name(name) else { continue };
                highest = highest.max(Some(i32::from(call)));
                if wanted == default {
                    continue;
                }
                match rule.args().as_deref().filter(|args| !args.is_empty()) {
                    None => context.add_rule(wanted, call).map_err(translate)?,
                    Some(args) => {
                        let conditions = args.iter().map(comparison).collect::<Vec<_>>();
                        context.add_rule_conditional(wanted, call, &conditions).map_err(translate)?
                    }
                };
            }
        }
        let mut instructions = unknown_calls(highest);
        instructions.extend(export(&context).map_err(|source| FilterError::Export { source })?);
        if instructions.len() > MAX_INSTRUCTIONS {
            return Err(FilterError::TooLong { instructions: instructions.len() });
        }
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

/// `if (number & ~X32_BIT) > highest return ENOSYS`, in front of libseccomp's program, whose jumps are relative.
fn unknown_calls(highest: Option<i32>) -> Vec<libc::sock_filter> {
    let Some(Ok(highest)) = highest.filter(|number| *number >= FIRST_COMMON_NUMBER).map(u32::try_from) else { return Vec::new() };
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let enosys = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).unwrap_or(0);
    vec![
        // `nr` is the first field of struct seccomp_data.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, !X32_BIT),
        instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 0, 1, highest),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, enosys),
    ]
}

fn export(context: &ScmpFilterContext) -> io::Result<Vec<libc::sock_filter>> {
    let mut file = File::from(nix::sys::memfd::memfd_create(c"filter", MFdFlags::MFD_CLOEXEC)?);
    context.export_bpf(&file).map_err(io::Error::other)?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (instructions, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    // struct sock_filter: u16 code, u8 jt, u8 jf, u32 k, in the machine's order.
    Ok(instructions
        .iter()
        .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| libc::sock_filter {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        })
        .collect())
}

/// OCI's `value` is the mask and `valueTwo` what must remain; libseccomp has the mask in the operator.
fn comparison(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0)),
    };
    ScmpArgCompare::new(u32::try_from(arg.index()).unwrap_or(u32::MAX), operator, datum)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, FilterError> {
    let errno = errno.and_then(|errno| i32::try_from(errno).ok()).unwrap_or(libc::EPERM);
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno),
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        other => return Err(FilterError::Unsupported { what: format!("the action {other:?}") }),
    })
}

fn architecture(arch: Arch) -> Result<ScmpArch, FilterError> {
    Ok(match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        other => return Err(FilterError::Unsupported { what: format!("the architecture {other:?}") }),
    })
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSyscallBuilder};

    /// Allows what a child needs to end, and `getcwd`; `dup` only where its argument has none of the bits of a mask.
    fn profile() -> LinuxSeccomp {
        let allow = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow)
        };
        let masked = LinuxSeccompArgBuilder::default().index(0_usize).op(LinuxSeccompOperator::ScmpCmpMaskedEq).value(0xf0_u64);
        let masked = masked.value_two(0_u64).build().unwrap();
        LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActErrno)
            .default_errno_ret(1_u32)
            .architectures(vec![Arch::ScmpArchNative])
            .syscalls(vec![
                allow(&["exit", "exit_group", "futex_waitv", "not_a_call_at_all"]).build().unwrap(),
                allow(&["dup"]).args(vec![masked]).build().unwrap(),
            ])
            .build()
            .unwrap()
    }

    /// What a call answers under the filter, in a process of its own.
    fn answer(filter: &Filter, call: i64, argument: i64) -> i32 {
        // SAFETY: the child only makes system calls: prctl, the filter's, the one under test, and exit.
        match unsafe { nix::unistd::fork() }.unwrap() {
            // SAFETY: as above; the call under test takes numbers, no pointers.
            nix::unistd::ForkResult::Child => unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                let loaded = filter.load().is_ok();
                let result = libc::syscall(call, argument, 0, 0, 0, 0, 0);
                libc::_exit(if !loaded {
                    255
                } else if result < 0 {
                    *libc::__errno_location()
                } else {
                    0
                });
            },
            nix::unistd::ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None).unwrap() {
                nix::sys::wait::WaitStatus::Exited(_, status) => status,
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn known_calls_are_refused_and_unknown_ones_not_there() {
        let filter = Filter::compile(&profile()).unwrap();
        assert_eq!(answer(&filter, libc::SYS_getppid, 0), libc::EPERM);
        for unknown in [451, 462, 1000] {
            assert_eq!(answer(&filter, unknown, 0), libc::ENOSYS, "{unknown}");
        }
    }

    #[test]
    fn a_masked_comparison_looks_at_the_masked_bits() {
        let filter = Filter::compile(&profile()).unwrap();
        assert_eq!(answer(&filter, libc::SYS_dup, 1), 0);
        assert_eq!(answer(&filter, libc::SYS_dup, 0x10), libc::EPERM);
        assert_eq!(answer(&filter, libc::SYS_dup, 0xf), libc::EBADF);
    }
}
