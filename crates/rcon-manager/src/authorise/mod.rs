//! Who may call what: the certificate and the replicated record of its node are looked at together, then the table ([`table`]).
//!
//! In flow a rule, who the connection says that the caller is, and the state; out flows the authorised caller, or a failure with a hint.
//! Pure. A role is never taken from the certificate alone (it may be older than a demotion), nor from the record alone (a promotion is
//! effective with the certificate that says so).

pub mod table;

use rcon_identity::PeerIdentity;
use rcon_proto::{convert, v1};
use rcon_state::State;
use rcon_types::{ClusterId, Failure, FailureKind, NodeId, Role};

use crate::assignments::managers;
use table::{CallerClass, Rule};

/// Managers that a refusal names; more would not be read.
const NAMED_MANAGERS: usize = 3;

/// Who is on the other end, as the connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The unix socket of this host.
    Local,
    /// A TLS connection, with the certificate that was shown and verified, if one was.
    Remote(Option<PeerIdentity>),
}

/// A caller that a rule let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authorised {
    /// What it is.
    pub class: CallerClass,
    /// Which node it is; `None` on the unix socket and without a certificate.
    pub node: Option<NodeId>,
}

impl Authorised {
    /// The calling node, for procedures that only nodes may call.
    ///
    /// # Errors
    /// Where the table lets a caller without a node pass.
    pub fn node(&self) -> Result<NodeId, Failure> {
        self.node.ok_or_else(|| Failure::new(FailureKind::Unauthenticated, "only a node can ask this"))
    }
}

/// What a caller is.
#[must_use]
pub fn classify(origin: &Origin, own_cluster: ClusterId, state: &State) -> CallerClass {
    let identity = match origin {
        Origin::Local => return CallerClass::LocalAdministrator,
        Origin::Remote(None) => return CallerClass::Anonymous,
        Origin::Remote(Some(identity)) => identity,
    };
    if identity.cluster_id != own_cluster {
        return CallerClass::Foreign;
    }
    let Some(record) = state.node(identity.node_id) else {
        return if state.is_tombstoned(identity.node_id) { CallerClass::Removed } else { CallerClass::Unknown };
    };
    if record.public_key_digest != identity.public_key_digest.as_slice() {
        return CallerClass::WrongKey;
    }
    match (identity.expired, identity.role, convert::role(record.role)) {
        (true, _, _) => CallerClass::Expired,
        (false, Role::Manager, Some(Role::Manager)) => CallerClass::Manager,
        (false, Role::Manager, _) if record.manager.is_some() => CallerClass::RetiringManager,
        _ => CallerClass::Worker,
    }
}

/// Lets a caller pass, or says why not.
///
/// # Errors
/// Where the rule does not name the caller's class.
pub fn authorise(rule: &Rule, origin: &Origin, own_cluster: ClusterId, state: &State) -> Result<Authorised, Failure> {
    let class = classify(origin, own_cluster, state);
    let node = match origin {
        Origin::Remote(Some(identity)) => Some(identity.node_id),
        Origin::Local | Origin::Remote(None) => None,
    };
    if rule.callers.contains(&class) { Ok(Authorised { class, node }) } else { Err(refusal(rule, class, node, state)) }
}

fn refusal(rule: &Rule, class: CallerClass, node: Option<NodeId>, state: &State) -> Failure {
    let who = node.map_or_else(|| "the caller".to_owned(), |id| name_of(id, state));
    let denied = |why: String| Failure::new(FailureKind::PermissionDenied, why);
    let unauthenticated = |why: String| Failure::new(FailureKind::Unauthenticated, why);
    match class {
        CallerClass::Worker | CallerClass::RetiringManager if rule.service == "CertificateAuthority" => member_already(&who),
        CallerClass::Manager if rule.service == "CertificateAuthority" => member_already(&who),
        CallerClass::Worker | CallerClass::RetiringManager => {
            denied(format!("{who} is a worker: only managers may do this")).hint(ask_a_manager(state))
        }
        CallerClass::Manager => denied("a manager may not do this from another host".to_owned()),
        CallerClass::LocalAdministrator => denied("this is not served on the local socket".to_owned()),
        CallerClass::Removed => denied(format!("{who} was removed from the cluster"))
            .hint("leave with `rconctl swarm leave --force`, then join again with a token"),
        CallerClass::Expired => unauthenticated(format!("the certificate of {who} has expired"))
            .hint("the node renews it by itself when it reaches a manager; check the clocks of both hosts"),
        CallerClass::Unknown => Failure::new(FailureKind::Unavailable, format!("this manager does not know {who} yet"))
            .hint("it may be catching up: try again, or another manager"),
        CallerClass::WrongKey => denied(format!("the certificate of {who} is not for the key on record"))
            .hint("two hosts may share one data directory: remove the copy, and join that host anew"),
        CallerClass::Foreign => {
            unauthenticated("the certificate is of another cluster".to_owned()).hint("leave that cluster first: `rconctl swarm leave`")
        }
        CallerClass::Anonymous => {
            unauthenticated("the caller showed no certificate".to_owned()).hint("join the cluster first: `rconctl swarm join`")
        }
    }
}

fn member_already(who: &str) -> Failure {
    Failure::new(FailureKind::AlreadyExists, format!("{who} is a member of the cluster already")).hint("leave first: `rconctl swarm leave`")
}

/// A hint that names some managers with their addresses.
#[must_use]
pub fn ask_a_manager(state: &State) -> String {
    let named: Vec<String> = managers(state)
        .into_iter()
        .filter_map(|m: v1::ManagerAddress| Some((NodeId::from_slice(&m.node_id).ok()?, m.address)))
        .take(NAMED_MANAGERS)
        .map(|(id, address)| format!("{} ({address})", hostname(id, state)))
        .collect();
    match named.is_empty() {
        true => "run this on a manager".to_owned(),
        false => format!("run this on a manager: {}", named.join(", ")),
    }
}

fn hostname(id: NodeId, state: &State) -> String {
    let described = state.node(id).and_then(|n| n.description.as_ref()).map(|d| d.hostname.clone());
    described.filter(|name| !name.is_empty()).unwrap_or_else(|| id.short())
}

fn name_of(id: NodeId, state: &State) -> String {
    format!("node `{}`", hostname(id, state))
}

#[cfg(test)]
mod tests;
