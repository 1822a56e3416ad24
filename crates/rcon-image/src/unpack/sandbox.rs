//! Giving up everything that unpacking does not need, before the archive's first byte.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::unpack::error::UnpackError;

/// The newest Landlock of which all is asked; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;

/// What is left to a process that unpacks: files of any owner and mode, device nodes, file capabilities, and overlayfs'
/// own attributes (`trusted.*` asks for CAP_SYS_ADMIN; what else that allows, mounting above all, Landlock forbids).
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

/// Locks the calling thread, and all it will start, into a directory, without a network.
/// False where the kernel has no Landlock: resolution in the root is then the only wall.
pub(super) fn lock_into(directory: BorrowedFd<'_>) -> Result<bool, UnpackError> {
    let failed = |what: &'static str| move |error: String| UnpackError::Process(format!("{what}: {error}"));
    let locked = (|| {
        let inside = AccessFs::from_all(LANDLOCK) & !AccessFs::Execute;
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?
            .add_rule(PathBeneath::new(directory, inside))?
            .restrict_self()
    })()
    .map_err(|error: landlock::RulesetError| failed("landlock")(error.to_string()))?;
    drop_capabilities().map_err(|error| failed("capset")(error.to_string()))?;
    Ok(locked.ruleset != RulesetStatus::NotEnforced)
}

fn drop_capabilities() -> rustix::io::Result<()> {
    let have = rustix::thread::capabilities(None)?;
    let keep = CapabilitySets {
        effective: have.effective & CAPABILITIES,
        permitted: have.permitted & CAPABILITIES,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, keep)
}
