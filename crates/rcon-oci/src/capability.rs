//! Which capabilities a container has: Docker's default, changed as the user asks.

use std::{collections::BTreeSet, str::FromStr};

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use crate::{CapabilityChanges, SpecError};

/// Docker's fourteen (mask `a80425fb`), documented under "Runtime privilege and Linux capabilities".
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// All there are, in the order of `capability.h` (numbers 0 to 40).
pub const EVERY_CAPABILITY: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// A set of capabilities by their number, so that its order is the kernel's.
pub(crate) type CapabilityNumbers = BTreeSet<usize>;

/// The capability's number in `capability.h`.
pub(crate) fn number(capability: Capability) -> usize {
    EVERY_CAPABILITY.iter().position(|known| *known == capability).unwrap_or(EVERY_CAPABILITY.len())
}

/// The capabilities that result: a privileged container starts from all, others from the default; `drop` is applied
/// before `add`, so that `--cap-drop ALL --cap-add X` leaves X, and `--cap-add ALL --cap-drop X` all but X.
pub(crate) fn resolve(changes: &CapabilityChanges, privileged: bool) -> Result<CapabilityNumbers, SpecError> {
    let everything: CapabilityNumbers = (0..EVERY_CAPABILITY.len()).collect();
    let (add_all, add) = parse(&changes.add)?;
    let (drop_all, drop) = parse(&changes.drop)?;
    let base: CapabilityNumbers = match (privileged || add_all, drop_all) {
        (true, _) => everything,
        (false, true) => CapabilityNumbers::new(),
        (false, false) => DEFAULT_CAPABILITIES.iter().map(|c| number(*c)).collect(),
    };
    if privileged {
        return Ok(base);
    }
    Ok(base.difference(&drop).chain(add.iter()).copied().filter(|n| !(add_all && drop.contains(n))).collect())
}

/// The sets of a process: no inheritable and no ambient ones (CVE-2022-24769), written out as empty since the
/// OCI types would put defaults of their own there.
pub(crate) fn sets(numbers: &CapabilityNumbers, id: &str) -> Result<LinuxCapabilities, SpecError> {
    let set: oci_spec::runtime::Capabilities = numbers.iter().map(|n| EVERY_CAPABILITY[*n]).collect();
    let none = oci_spec::runtime::Capabilities::new();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(none.clone())
        .ambient(none)
        .build()
        .map_err(|source| SpecError::Oci { id: id.to_owned(), source })
}

/// Whether `ALL` was named, and the others.
fn parse(names: &[String]) -> Result<(bool, CapabilityNumbers), SpecError> {
    let mut all = false;
    let mut numbers = CapabilityNumbers::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            all = true;
            continue;
        }
        let capability = Capability::from_str(bare).map_err(|_| SpecError::UnknownCapability { name: name.clone() })?;
        numbers.insert(number(capability));
    }
    Ok((all, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(numbers: &CapabilityNumbers) -> u64 {
        numbers.iter().map(|n| 1u64 << n).sum()
    }

    fn changes(add: &[&str], drop: &[&str]) -> CapabilityChanges {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        CapabilityChanges { add: own(add), drop: own(drop) }
    }

    #[test]
    fn the_default_is_dockers_mask() {
        assert_eq!(mask(&resolve(&CapabilityChanges::default(), false).unwrap()), 0xa804_25fb);
    }

    #[test]
    fn changes_follow_dockers_rules() {
        let all = (1u64 << 41) - 1;
        for (add, drop, privileged, expected) in [
            (&["NET_ADMIN"][..], &[][..], false, 0xa804_25fb | 1 << 12),
            (&[], &["cap_mknod"], false, 0xa804_25fb & !(1 << 27)),
            (&["CHOWN"], &["ALL"], false, 1),
            (&["ALL"], &["SYS_ADMIN"], false, all & !(1 << 21)),
            (&[], &["ALL"], false, 0),
            (&[], &[], true, all),
        ] {
            assert_eq!(mask(&resolve(&changes(add, drop), privileged).unwrap()), expected, "{add:?} {drop:?}");
        }
    }

    #[test]
    fn an_unknown_capability_is_named() {
        let error = resolve(&changes(&["FLY"], &[]), false).unwrap_err();
        assert_eq!(error.to_string(), "there is no capability `FLY`");
    }
}
