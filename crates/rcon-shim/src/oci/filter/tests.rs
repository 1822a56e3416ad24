//! Our programs against libseccomp's, by a machine that runs both, and against the kernel.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{Read as _, Seek as _},
};

use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext};
use nix::sys::memfd::MFdFlags;
use oci_spec::runtime::{LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSyscallBuilder};
use rcon_oci::{Architecture, CgroupVersion, ContainerSpec, HostFacts, KernelVersion};

use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// What the kernel's machine answers: the few instructions that filters of ours and of libseccomp have.
fn run(program: &[libc::sock_filter], architecture: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(architecture.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    data.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
    let (mut accumulator, mut at) = (0_u32, 0_usize);
    loop {
        let step = program[at];
        let branch = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        at += 1;
        match step.code {
            0x20 => accumulator = u32::from_ne_bytes(data[step.k as usize..][..4].try_into().unwrap()),
            0x54 => accumulator &= step.k,
            0x05 => at += step.k as usize,
            0x15 => at += branch(accumulator == step.k),
            0x25 => at += branch(accumulator > step.k),
            0x35 => at += branch(accumulator >= step.k),
            0x06 => return step.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// libseccomp's program for the same profile.
fn oracle(profile: &LinuxSeccomp) -> Vec<libc::sock_filter> {
    let action = |action, errno: Option<u32>| match action {
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        _ => ScmpAction::Errno(i32::try_from(errno.unwrap_or(1)).unwrap()),
    };
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).unwrap();
    for arch in profile.architectures().iter().flatten() {
        context.add_arch(Abi::of(*arch).unwrap().names).unwrap();
    }
    for rule in profile.syscalls().iter().flatten() {
        for name in rule.names() {
            let Ok(call) = ScmpSyscall::from_name(name) else { continue };
            let conditions: Vec<ScmpArgCompare> = rule
                .args()
                .iter()
                .flatten()
                .map(|arg| {
                    let (operator, value) = match arg.op() {
                        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
                        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
                        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
                        LinuxSeccompOperator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap()),
                        other => panic!("{other:?}"),
                    };
                    ScmpArgCompare::new(u32::try_from(arg.index()).unwrap(), operator, value)
                })
                .collect();
            context.add_rule_conditional(action(rule.action(), rule.errno_ret()), call, &conditions).unwrap();
        }
    }
    let mut file = File::from(nix::sys::memfd::memfd_create(c"filter", MFdFlags::MFD_CLOEXEC).unwrap());
    context.export_bpf(&file).unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let (instructions, _) = bytes.as_chunks::<8>();
    let one = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| libc::sock_filter {
        code: u16::from_ne_bytes([c0, c1]),
        jt,
        jf,
        k: u32::from_ne_bytes([k0, k1, k2, k3]),
    };
    instructions.iter().map(one).collect()
}

fn default_profile(add: &[&str]) -> LinuxSeccomp {
    let mut spec = ContainerSpec::new("x", "/root", vec!["true".into()]);
    spec.capabilities.add = add.iter().map(|name| (*name).to_owned()).collect();
    let host = HostFacts {
        architecture: Architecture::X86_64,
        kernel: KernelVersion { major: 6, minor: 1 },
        cgroup: CgroupVersion::V1,
        hard_limits: std::collections::BTreeMap::new(),
        thermal_throttle_cpus: 0,
        apparmor_profile: None,
    };
    rcon_oci::runtime_spec(&spec, &host).unwrap().linux().as_ref().unwrap().seccomp().clone().unwrap()
}

#[test]
fn every_call_gets_the_verdict_that_libseccomp_gives() {
    let values =
        [0, 1, 2, 8, 37, 38, 39, 40, 41, 0x11, 0x2_0000, 0x2_0008, 0x0200_0011, 0x7e02_0000, 0x1000_0000, 0xffff_ffff, 1 << 32, u64::MAX];
    let enosys = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).unwrap();
    for add in [&[][..], &["SYS_ADMIN"], &["ALL"]] {
        let profile = default_profile(add);
        let (ours, theirs) = (Filter::compile(&profile).unwrap().instructions, oracle(&profile));
        assert!(ours.len() < 1000, "{} instructions", ours.len());
        for (architecture, first) in [(X86_64, 0), (X86_64, X32_BIT), (I386, 0)] {
            for number in (0..600).map(|number| first + number) {
                for value in values {
                    // Programs of 32-bit ABIs pass no more; of x32's longer values libseccomp looks at half, we at all.
                    let value = if (architecture, first) == (X86_64, 0) { value } else { value & 0xffff_ffff };
                    let args = [value, 0, value, value, value, value];
                    let (our, their) = (run(&ours, architecture, number, args), run(&theirs, architecture, number, args));
                    let newer = our == enosys && number - first >= FIRST_COMMON_NUMBER;
                    assert!(
                        our == their || newer,
                        "{architecture:#x} {number} {value:#x}: ours {our:#x}, libseccomp's {their:#x}, {add:?}"
                    );
                }
            }
        }
        assert_eq!(run(&ours, 0xc000_00b7, 0, [0; 6]), libc::SECCOMP_RET_KILL_THREAD);
        assert_eq!(run(&ours, X86_64, 0x3fff_ffff, [0; 6]), enosys);
        assert_eq!(run(&ours, X86_64, u32::MAX, [0; 6]), enosys);
    }
}

/// What a comparison of an argument with a value means.
type Holds = fn(u64, u64) -> bool;

#[test]
fn every_comparison_is_that_of_64_bits() {
    let samples = [0, 1, 7, 0xffff_ffff, 1 << 32, (1 << 32) + 7, (5 << 32) + 3, (5 << 32) + 4, u64::MAX - 1, u64::MAX];
    let operators: [(LinuxSeccompOperator, Holds); 7] = [
        (LinuxSeccompOperator::ScmpCmpEq, |a, b| a == b),
        (LinuxSeccompOperator::ScmpCmpNe, |a, b| a != b),
        (LinuxSeccompOperator::ScmpCmpLt, |a, b| a < b),
        (LinuxSeccompOperator::ScmpCmpLe, |a, b| a <= b),
        (LinuxSeccompOperator::ScmpCmpGt, |a, b| a > b),
        (LinuxSeccompOperator::ScmpCmpGe, |a, b| a >= b),
        (LinuxSeccompOperator::ScmpCmpMaskedEq, |a, mask| a & mask == 7),
    ];
    for (operator, holds) in operators {
        for value in samples {
            let condition = LinuxSeccompArgBuilder::default().index(1_usize).op(operator).value(value).value_two(7_u64).build().unwrap();
            let filter = Filter::compile(&profile("dup2", condition)).unwrap();
            for argument in samples {
                let allowed = run(&filter.instructions, X86_64, 33, [9, argument, 9, 9, 9, 9]) == libc::SECCOMP_RET_ALLOW;
                assert_eq!(allowed, holds(argument, value), "{argument:#x} {operator:?} {value:#x}");
            }
        }
    }
}

/// Allows what a child needs to end, and `conditional` under a condition.
fn profile(conditional: &str, condition: LinuxSeccompArg) -> LinuxSeccomp {
    let allow = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow)
    };
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(1_u32)
        .architectures(vec![Arch::ScmpArchNative])
        .syscalls(vec![
            allow(&["exit", "exit_group", "futex_waitv", "not_a_call_at_all"]).build().unwrap(),
            allow(&[conditional]).args(vec![condition]).build().unwrap(),
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
fn the_kernel_takes_the_program_and_does_what_it_says() {
    let masked = LinuxSeccompArgBuilder::default().index(0_usize).op(LinuxSeccompOperator::ScmpCmpMaskedEq).value(0xf0_u64);
    let filter = Filter::compile(&profile("dup", masked.value_two(0_u64).build().unwrap())).unwrap();
    assert_eq!(answer(&filter, libc::SYS_getppid, 0), libc::EPERM);
    for unknown in [451, 462, 1000] {
        assert_eq!(answer(&filter, unknown, 0), libc::ENOSYS, "{unknown}");
    }
    assert_eq!(answer(&filter, libc::SYS_dup, 1), 0);
    assert_eq!(answer(&filter, libc::SYS_dup, 0x10), libc::EPERM);
    assert_eq!(answer(&filter, libc::SYS_dup, 0xf), libc::EBADF);
}
