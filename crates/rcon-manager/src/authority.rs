//! The cluster's certificate authority, as the state keeps it. Its key leaves the state here alone, to sign.

use rcon_identity::{CertificateAuthority, RootBundle};
use rcon_state::State;
use rcon_types::{Failure, FailureKind};

/// The roots of the state.
///
/// # Errors
/// When there is no cluster, or its roots cannot be read.
pub fn roots(state: &State) -> Result<RootBundle, Failure> {
    let cluster =
        state.cluster().ok_or_else(|| Failure::new(FailureKind::Unavailable, "this manager has no state yet").hint("try again"))?;
    let pem = std::str::from_utf8(&cluster.root_certificates_pem)
        .map_err(|_| Failure::new(FailureKind::Internal, "the cluster's root certificates are no text"))?;
    Ok(RootBundle::from_pem(pem)?)
}

/// The authority of the state.
///
/// # Errors
/// As [`roots`], and when the key is not that of a root.
pub fn authority(state: &State) -> Result<CertificateAuthority, Failure> {
    let roots = roots(state)?;
    let key = state.cluster().map(|cluster| cluster.ca_key_pkcs8.clone()).unwrap_or_default();
    Ok(CertificateAuthority::from_parts(&roots, &key)?)
}
