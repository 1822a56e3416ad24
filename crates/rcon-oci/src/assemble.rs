//! From a container's description to its OCI specification.

use std::collections::HashMap;

use oci_spec::{
    OciSpecError,
    runtime::{
        Linux, LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
        UserBuilder,
    },
};

use crate::{
    CgroupVersion, ContainerSpec, HostFacts, INIT_DESTINATION, NetworkNamespace, SeccompChoice, SpecError,
    capability::{self, CapabilityNumbers},
    mount, path, resource, seccomp,
};

/// The search path of a container whose image sets none; Docker's.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// File mode creation mask of a container's processes.
const UMASK: u32 = 0o022;

/// The version of the runtime specification that is written; the newest that the runc of Debian 12 takes.
const OCI_VERSION: &str = "1.0.2";

/// The specification of a container.
///
/// # Errors
/// When the description cannot be run on this host: no command, a relative path, an unknown capability, a limit above
/// the daemon's own.
pub fn runtime_spec(spec: &ContainerSpec, host: &HostFacts) -> Result<Spec, SpecError> {
    check(spec)?;
    let capabilities = capability::resolve(&spec.capabilities, spec.privileged)?;
    let process = process(spec, host, &capabilities)?;
    let linux = linux(spec, host, &capabilities)?;
    let oci = |source| SpecError::Oci { id: spec.id.clone(), source };
    let root = RootBuilder::default().path(spec.root.path.clone()).readonly(spec.root.read_only).build().map_err(oci)?;
    let labels: HashMap<String, String> = spec.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut built = SpecBuilder::default()
        .version(OCI_VERSION)
        .root(root)
        .mounts(mount::mounts(spec)?)
        .process(process)
        .annotations(labels)
        .linux(linux)
        .build()
        .map_err(oci)?;
    built.set_hostname(Some(spec.hostname.clone()).filter(|name| !name.is_empty()));
    built.set_domainname(Some(spec.domainname.clone()).filter(|name| !name.is_empty()));
    Ok(built)
}

fn check(spec: &ContainerSpec) -> Result<(), SpecError> {
    if spec.args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand { id: spec.id.clone() });
    }
    mount::absolute("root file system", &spec.root.path)?;
    mount::absolute("working directory", &spec.cwd)?;
    mount::absolute("cgroup", &spec.cgroup_path)?;
    if spec.args.iter().any(|text| text.contains('\0')) {
        return Err(SpecError::Nul { what: "command" });
    }
    if spec.env.iter().any(|text| text.contains('\0')) {
        return Err(SpecError::Nul { what: "environment" });
    }
    Ok(())
}

fn process(spec: &ContainerSpec, host: &HostFacts, capabilities: &CapabilityNumbers) -> Result<Process, SpecError> {
    let oci = |source| SpecError::Oci { id: spec.id.clone(), source };
    let user = UserBuilder::default()
        .uid(spec.user.uid)
        .gid(spec.user.gid)
        .umask(UMASK)
        .additional_gids(spec.user.additional_gids.clone())
        .build()
        .map_err(oci)?;
    let mut args = spec.args.clone();
    if spec.init.is_some() {
        args.splice(0..0, [INIT_DESTINATION.to_owned(), "--".to_owned()]);
    }
    let mut built = ProcessBuilder::default()
        .terminal(spec.tty)
        .user(user)
        .args(args)
        .env(environment(spec))
        .cwd(spec.cwd.clone())
        .capabilities(capability::sets(capabilities, &spec.id)?)
        .build()
        .map_err(oci)?;
    // The OCI types put defaults of their own where nothing is said: a limit of 1024 files, and an explicit
    // `noNewPrivileges: false`, with which libcontainer loads the seccomp filter at the wrong moment and fails.
    built.set_rlimits(Some(resource::limits(spec, host)?).filter(|limits| !limits.is_empty()));
    built.set_no_new_privileges(spec.no_new_privileges.then_some(true));
    built.set_apparmor_profile(host.apparmor_profile.clone().filter(|_| !spec.privileged));
    Ok(built)
}

/// The user's variables in their order, with Docker's additions where they are missing.
fn environment(spec: &ContainerSpec) -> Vec<String> {
    let has = |key: &str| spec.env.iter().any(|entry| entry.split('=').next() == Some(key));
    let mut env = Vec::with_capacity(spec.env.len() + 3);
    if !has("PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !has("HOSTNAME") && !spec.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", spec.hostname));
    }
    if spec.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(spec.env.iter().cloned());
    env
}

fn linux(spec: &ContainerSpec, host: &HostFacts, capabilities: &CapabilityNumbers) -> Result<Linux, SpecError> {
    let oci = |source| SpecError::Oci { id: spec.id.clone(), source };
    let mut built = LinuxBuilder::default()
        .namespaces(namespaces(spec, host).map_err(oci)?)
        .cgroups_path(spec.cgroup_path.clone())
        .resources(resource::resources(spec)?)
        .build()
        .map_err(oci)?;
    let confined = !spec.privileged;
    built.set_masked_paths(confined.then(|| path::masked(host.thermal_throttle_cpus)));
    built.set_readonly_paths(confined.then(path::read_only));
    let profile = match spec.seccomp {
        SeccompChoice::Default if confined => Some(seccomp::default_profile(capabilities, host).map_err(oci)?),
        _ => None,
    };
    built.set_seccomp(profile);
    let sysctls: HashMap<String, String> = spec.sysctls.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    built.set_sysctl(Some(sysctls).filter(|map| !map.is_empty()));
    Ok(built)
}

/// Mount, PID, UTS and IPC always; the cgroup namespace with v2 only, as Docker does.
fn namespaces(spec: &ContainerSpec, host: &HostFacts) -> Result<Vec<oci_spec::runtime::LinuxNamespace>, OciSpecError> {
    let fresh = |typ| LinuxNamespaceBuilder::default().typ(typ);
    let mut all = vec![
        fresh(LinuxNamespaceType::Mount).build()?,
        fresh(LinuxNamespaceType::Pid).build()?,
        fresh(LinuxNamespaceType::Uts).build()?,
        fresh(LinuxNamespaceType::Ipc).build()?,
    ];
    match &spec.network {
        NetworkNamespace::New => all.push(fresh(LinuxNamespaceType::Network).build()?),
        NetworkNamespace::Path(path) => all.push(fresh(LinuxNamespaceType::Network).path(path.clone()).build()?),
        NetworkNamespace::Host => {}
    }
    if host.cgroup == CgroupVersion::V2 {
        all.push(fresh(LinuxNamespaceType::Cgroup).build()?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
