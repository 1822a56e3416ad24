//! The table RPC × caller. Data alone: a call that no row permits is refused, so a new RPC is closed until it has a row.

/// What a caller is, after its certificate and the replicated record of its node were both looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallerClass {
    /// Root, or the group that was given the socket, on the unix socket of this host.
    LocalAdministrator,
    /// Certificate and record say manager.
    Manager,
    /// A manager's certificate of a node that was demoted and has not left Raft yet: still heard there, else a worker.
    RetiringManager,
    /// A member without a say: the certificate or the record says worker.
    Worker,
    /// A member whose certificate has expired, with the key that is on record.
    Expired,
    /// Was a member, and was removed.
    Removed,
    /// A certificate of this cluster for a node that this manager does not know (yet).
    Unknown,
    /// A certificate of this cluster whose key is not the one on record for its node.
    WrongKey,
    /// A certificate of another cluster.
    Foreign,
    /// No certificate.
    Anonymous,
}

impl CallerClass {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 10] = [
        Self::LocalAdministrator,
        Self::Manager,
        Self::RetiringManager,
        Self::Worker,
        Self::Expired,
        Self::Removed,
        Self::Unknown,
        Self::WrongKey,
        Self::Foreign,
        Self::Anonymous,
    ];
}

/// One procedure that managers serve, and who may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The service of `proto/rcon/v1/`, without its package.
    pub service: &'static str,
    /// The method.
    pub method: &'static str,
    /// Who may call it; everybody else is refused.
    pub callers: &'static [CallerClass],
}

/// Those who administer the cluster.
const ADMINISTRATORS: &[CallerClass] = &[CallerClass::LocalAdministrator, CallerClass::Manager];
/// Those who belong to the cluster now.
const MEMBERS: &[CallerClass] = &[CallerClass::Manager, CallerClass::RetiringManager, CallerClass::Worker];
/// Those who make up Raft; that the Raft id is the caller's is checked beside the table, in `rcon-raft`.
const CONSENSUS: &[CallerClass] = &[CallerClass::Manager, CallerClass::RetiringManager];
/// Those who are no member now, whatever they were or are elsewhere: the token decides.
const JOINERS: &[CallerClass] = &[CallerClass::Expired, CallerClass::Removed, CallerClass::Foreign, CallerClass::Anonymous];
/// Those whose key is on record.
const RENEWERS: &[CallerClass] = &[CallerClass::Manager, CallerClass::RetiringManager, CallerClass::Worker, CallerClass::Expired];
/// Managers in full.
const MANAGERS: &[CallerClass] = &[CallerClass::Manager];

const fn rule(service: &'static str, method: &'static str, callers: &'static [CallerClass]) -> Rule {
    Rule { service, method, callers }
}

/// Reads the cluster object, without its secrets.
pub const GET_CLUSTER: Rule = rule("Control", "GetCluster", ADMINISTRATORS);
/// Shows, rotates and makes join tokens.
pub const GET_JOIN_TOKEN: Rule = rule("Control", "GetJoinToken", ADMINISTRATORS);
/// Lists the members.
pub const LIST_NODES: Rule = rule("Control", "ListNodes", ADMINISTRATORS);
/// Shows one member.
pub const INSPECT_NODE: Rule = rule("Control", "InspectNode", ADMINISTRATORS);
/// Changes role, availability, labels and address of a member.
pub const UPDATE_NODE: Rule = rule("Control", "UpdateNode", ADMINISTRATORS);
/// Removes a member.
pub const REMOVE_NODE: Rule = rule("Control", "RemoveNode", ADMINISTRATORS);
/// Hands the leadership over.
pub const TRANSFER_LEADER: Rule = rule("Control", "TransferLeader", ADMINISTRATORS);
/// Makes a cluster-wide network.
pub const CREATE_NETWORK: Rule = rule("Control", "CreateNetwork", ADMINISTRATORS);
/// Lists the cluster-wide networks.
pub const LIST_NETWORKS: Rule = rule("Control", "ListNetworks", ADMINISTRATORS);
/// Shows one of them with its endpoints.
pub const INSPECT_NETWORK: Rule = rule("Control", "InspectNetwork", ADMINISTRATORS);
/// Removes one that nobody uses.
pub const REMOVE_NETWORK: Rule = rule("Control", "RemoveNetwork", ADMINISTRATORS);
/// A node's beats and assignments.
pub const SESSION: Rule = rule("NodeSession", "Session", MEMBERS);
/// Leases an endpoint for the calling node.
pub const ATTACH: Rule = rule("NodeSession", "Attach", MEMBERS);
/// Gives endpoints of the calling node back.
pub const DETACH: Rule = rule("NodeSession", "Detach", MEMBERS);
/// Removes the calling node.
pub const LEAVE: Rule = rule("NodeSession", "Leave", MEMBERS);
/// Describes a network to a member.
pub const FIND_NETWORK: Rule = rule("NodeSession", "FindNetwork", MEMBERS);
/// What a manager hears, to the leader.
pub const REPORT_SESSIONS: Rule = rule("SessionReports", "Report", CONSENSUS);
/// What all managers hear, from the leader.
pub const COLLECT_SESSIONS: Rule = rule("SessionReports", "Collect", MANAGERS);
/// Makes the caller a member.
pub const JOIN: Rule = rule("CertificateAuthority", "Join", JOINERS);
/// A new certificate for a member.
pub const RENEW: Rule = rule("CertificateAuthority", "Renew", RENEWERS);

/// Every procedure of the services that managers serve.
pub const TABLE: &[Rule] = &[
    GET_CLUSTER,
    GET_JOIN_TOKEN,
    LIST_NODES,
    INSPECT_NODE,
    UPDATE_NODE,
    REMOVE_NODE,
    TRANSFER_LEADER,
    CREATE_NETWORK,
    LIST_NETWORKS,
    INSPECT_NETWORK,
    REMOVE_NETWORK,
    SESSION,
    ATTACH,
    DETACH,
    LEAVE,
    FIND_NETWORK,
    REPORT_SESSIONS,
    COLLECT_SESSIONS,
    JOIN,
    RENEW,
    rule("Raft", "Append", CONSENSUS),
    rule("Raft", "Vote", CONSENSUS),
    rule("Raft", "Snapshot", CONSENSUS),
    rule("Raft", "TransferLeader", CONSENSUS),
    rule("Raft", "Propose", CONSENSUS),
    rule("Raft", "ReadIndex", CONSENSUS),
    rule("Raft", "JoinMembership", MANAGERS),
    rule("Raft", "LeaveMembership", CONSENSUS),
    rule("Raft", "HandOver", MANAGERS),
];

/// The row of a procedure, by the names of its service and method.
#[must_use]
pub fn rule_of(service: &str, method: &str) -> Option<&'static Rule> {
    TABLE.iter().find(|rule| rule.service == service && rule.method == method)
}
