use std::collections::BTreeSet;

use super::*;
use crate::{CapabilityChanges, CgroupVersion, KernelVersion};

fn host(architecture: Architecture, kernel: (u32, u32)) -> HostFacts {
    HostFacts {
        architecture,
        kernel: KernelVersion { major: kernel.0, minor: kernel.1 },
        cgroup: CgroupVersion::V1,
        hard_limits: std::collections::BTreeMap::new(),
        thermal_throttle_cpus: 0,
        apparmor_profile: None,
    }
}

fn profile(add: &[&str], drop: &[&str], kernel: (u32, u32)) -> LinuxSeccomp {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    let capabilities = capability::resolve(&CapabilityChanges { add: own(add), drop: own(drop) }, false).unwrap();
    default_profile(&capabilities, &host(Architecture::X86_64, kernel)).unwrap()
}

fn rules_of(profile: &LinuxSeccomp) -> &[LinuxSyscall] {
    profile.syscalls().as_deref().unwrap_or_default()
}

/// The calls that are allowed whatever their arguments are.
fn freely_allowed(profile: &LinuxSeccomp) -> BTreeSet<&str> {
    let free = |rule: &&LinuxSyscall| rule.action() == LinuxSeccompAction::ScmpActAllow && rule.args().is_none();
    rules_of(profile).iter().filter(free).flat_map(|rule| rule.names().iter().map(String::as_str)).collect()
}

#[test]
fn calls_that_reach_beyond_the_container_are_not_allowed_by_default() {
    let default = profile(&[], &[], (6, 1));
    let allowed = freely_allowed(&default);
    let dangerous =
        "acct add_key bpf clone clone3 clock_settime create_module delete_module fanotify_init finit_module fsconfig fsmount fsopen
        fspick get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl
        lookup_dcookie mbind mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree perf_event_open personality
        pidfd_getfd pivot_root process_madvise quotactl reboot request_key set_mempolicy setdomainname sethostname setns settimeofday
        socket stime swapoff swapon sysfs syslog _sysctl umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old";
    for name in dangerous.split_whitespace() {
        assert!(!allowed.contains(name), "{name} is allowed");
    }
    for name in ["read", "openat2", "execve", "futex", "chroot", "ptrace", "arch_prctl", "seccomp"] {
        assert!(allowed.contains(name), "{name} is not allowed");
    }
    assert_eq!(default.default_action(), LinuxSeccompAction::ScmpActErrno);
    assert_eq!(default.default_errno_ret(), Some(EPERM));
}

#[test]
fn no_call_is_listed_twice_and_all_are_names() {
    let mut seen = BTreeSet::new();
    for name in table::ALWAYS.iter().flat_map(|group| group.split_whitespace()) {
        assert!(seen.insert(name), "{name} twice");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
    }
    assert_eq!(seen.len(), 361, "a changed table is a decision: compare it with moby's");
    for (capability, _) in table::BY_CAPABILITY {
        assert!(Capability::from_str(capability).is_ok(), "{capability}");
    }
}

#[test]
fn capabilities_open_what_needs_them() {
    for (capability, call) in
        [("SYS_ADMIN", "mount"), ("SYS_PTRACE", "kcmp"), ("SYS_TIME", "clock_settime"), ("PERFMON", "perf_event_open")]
    {
        assert!(!freely_allowed(&profile(&[], &[], (6, 1))).contains(call));
        assert!(freely_allowed(&profile(&[capability], &[], (6, 1))).contains(call), "{capability}");
    }
    assert!(!freely_allowed(&profile(&[], &["SYS_CHROOT"], (6, 1))).contains("chroot"));
}

#[test]
fn tracing_waits_for_a_kernel_that_filters_the_tracer() {
    assert!(!freely_allowed(&profile(&[], &[], (4, 7))).contains("ptrace"));
    assert!(freely_allowed(&profile(&[], &[], (4, 8))).contains("ptrace"));
    assert!(freely_allowed(&profile(&["SYS_PTRACE"], &[], (3, 10))).contains("ptrace"));
}

#[test]
fn clone_makes_no_namespaces_and_clone3_answers_enosys() {
    let default = profile(&[], &[], (6, 1));
    let clone = rules_of(&default).iter().find(|rule| rule.names() == &["clone"]).unwrap();
    let condition = clone.args().as_ref().unwrap()[0];
    assert_eq!(condition.op(), LinuxSeccompOperator::ScmpCmpMaskedEq);
    assert_eq!((condition.index(), condition.value(), condition.value_two()), (0, 0x7e02_0000, Some(0)));
    let clone3 = rules_of(&default).iter().find(|rule| rule.names() == &["clone3"]).unwrap();
    assert_eq!((clone3.action(), clone3.errno_ret()), (LinuxSeccompAction::ScmpActErrno, Some(ENOSYS)));
    let admin = profile(&["SYS_ADMIN"], &[], (6, 1));
    assert!(rules_of(&admin).iter().all(|rule| rule.action() == LinuxSeccompAction::ScmpActAllow));
    assert!(freely_allowed(&admin).contains("clone3"));
}

#[test]
fn sockets_of_any_family_but_vsock_and_the_cryptography_api() {
    let default = profile(&[], &[], (6, 1));
    let allowed = |family: u64| {
        rules_of(&default).iter().filter(|rule| rule.names() == &["socket"]).any(|rule| {
            let condition = rule.args().as_ref().unwrap()[0];
            match condition.op() {
                LinuxSeccompOperator::ScmpCmpLt => family < condition.value(),
                LinuxSeccompOperator::ScmpCmpGt => family > condition.value(),
                _ => family == condition.value(),
            }
        })
    };
    let refused: Vec<u64> = (0..64).filter(|family| !allowed(*family)).collect();
    assert_eq!(refused, [38, 40]);
}

#[test]
fn every_architecture_has_its_abis_and_its_own_calls() {
    for (architecture, abis, call) in [
        (Architecture::X86_64, 3, "modify_ldt"),
        (Architecture::Aarch64, 2, "cacheflush"),
        (Architecture::Riscv64, 1, "riscv_flush_icache"),
        (Architecture::Ppc64le, 1, "swapcontext"),
        (Architecture::S390x, 2, "s390_runtime_instr"),
    ] {
        let capabilities = capability::resolve(&CapabilityChanges::default(), false).unwrap();
        let profile = default_profile(&capabilities, &host(architecture, (6, 1))).unwrap();
        assert_eq!(profile.architectures().as_ref().unwrap().len(), abis);
        assert!(freely_allowed(&profile).contains(call));
    }
}
