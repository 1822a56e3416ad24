//! The default seccomp profile: the rules of [`table`], resolved for one container on one host.
//!
//! Moby's profile carries conditions (by capability, architecture and kernel) that the OCI format does not know; they are decided here.

mod table;

use std::str::FromStr;

use oci_spec::{
    OciSpecError,
    runtime::{
        Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
        LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
    },
};

use crate::{
    Architecture, HostFacts,
    capability::{self, CapabilityNumbers},
};

/// What a refused system call answers.
const EPERM: u32 = 1;
/// What `clone3` answers: its flags are behind a pointer, so no filter can look at them, and libcs fall back to `clone`.
const ENOSYS: u32 = 38;

/// The profile for a container with these capabilities.
pub(crate) fn default_profile(capabilities: &CapabilityNumbers, host: &HostFacts) -> Result<LinuxSeccomp, OciSpecError> {
    let mut profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .syscalls(rules(capabilities, host)?)
        .build()?;
    profile.set_architectures(Some(architectures(host.architecture)));
    Ok(profile)
}

/// The native ABI first, then those that the same kernel also runs.
fn architectures(architecture: Architecture) -> Vec<Arch> {
    match architecture {
        Architecture::X86_64 => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        Architecture::Aarch64 => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        Architecture::Riscv64 => vec![Arch::ScmpArchRiscv64],
        Architecture::Ppc64le => vec![Arch::ScmpArchPpc64le],
        Architecture::S390x => vec![Arch::ScmpArchS390x, Arch::ScmpArchS390],
    }
}

fn rules(capabilities: &CapabilityNumbers, host: &HostFacts) -> Result<Vec<LinuxSyscall>, OciSpecError> {
    let has = |name: &str| Capability::from_str(name).is_ok_and(|known| capabilities.contains(&capability::number(known)));
    let mut allowed: Vec<&str> = table::ALWAYS.iter().flat_map(|group| group.split_whitespace()).collect();
    if (host.kernel.major, host.kernel.minor) >= table::PTRACE_SINCE {
        allowed.extend(table::TRACING.split_whitespace());
    }
    allowed.extend(table::by_architecture(host.architecture).split_whitespace());
    for (_, names) in table::BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        allowed.extend(names.split_whitespace());
    }
    allowed.sort_unstable();
    allowed.dedup();
    let mut rules = vec![allow(&allowed)?];
    for value in table::PERSONALITIES {
        rules.push(allow_when("personality", argument(0, LinuxSeccompOperator::ScmpCmpEq, value)?)?);
    }
    rules.extend(socket_rules()?);
    if !has("SYS_ADMIN") {
        let flags = usize::from(host.architecture == Architecture::S390x);
        let no_namespace = LinuxSeccompArgBuilder::default()
            .index(flags)
            .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
            .value(table::CLONE_NAMESPACES)
            .value_two(0u64)
            .build()?;
        rules.push(allow_when("clone", no_namespace)?);
        let refused = LinuxSyscallBuilder::default().names(["clone3".to_owned()]).action(LinuxSeccompAction::ScmpActErrno);
        rules.push(refused.errno_ret(ENOSYS).build()?);
    }
    Ok(rules)
}

/// Every address family but the two: below, between and above them, since one rule may compare an argument only once.
fn socket_rules() -> Result<[LinuxSyscall; 3], OciSpecError> {
    Ok([
        allow_when("socket", argument(0, LinuxSeccompOperator::ScmpCmpLt, table::AF_ALG)?)?,
        allow_when("socket", argument(0, LinuxSeccompOperator::ScmpCmpEq, table::AF_ALG + 1)?)?,
        allow_when("socket", argument(0, LinuxSeccompOperator::ScmpCmpGt, table::AF_VSOCK)?)?,
    ])
}

fn allow(names: &[&str]) -> Result<LinuxSyscall, OciSpecError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow).build()
}

fn allow_when(name: &str, condition: LinuxSeccompArg) -> Result<LinuxSyscall, OciSpecError> {
    let rule = LinuxSyscallBuilder::default().names([name.to_owned()]).action(LinuxSeccompAction::ScmpActAllow);
    rule.args(vec![condition]).build()
}

fn argument(index: usize, operator: LinuxSeccompOperator, value: u64) -> Result<LinuxSeccompArg, OciSpecError> {
    LinuxSeccompArgBuilder::default().index(index).op(operator).value(value).build()
}

#[cfg(test)]
mod tests;
