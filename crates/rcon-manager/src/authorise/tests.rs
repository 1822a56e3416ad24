//! The table, cell by cell, and what a certificate and a record make of a caller.

use std::{collections::BTreeSet, path::Path};

use rcon_identity::PeerIdentity;
use rcon_types::{ClusterId, FailureKind, NodeId, Role};

use super::{
    Origin, authorise, classify,
    table::{CallerClass, TABLE, rule_of},
};
use crate::fixture::Fixture;

/// The whole table as it must be, written down a second time by hand: `x` may call, `-` may not. In the columns' order: local
/// administrator, manager, retiring manager, worker, expired, removed, unknown, wrong key, foreign, anonymous.
const EXPECTED: &str = "
    Control.GetCluster              x x - - - - - - - -
    Control.GetJoinToken            x x - - - - - - - -
    Control.ListNodes               x x - - - - - - - -
    Control.InspectNode             x x - - - - - - - -
    Control.UpdateNode              x x - - - - - - - -
    Control.RemoveNode              x x - - - - - - - -
    Control.TransferLeader          x x - - - - - - - -
    Control.CreateNetwork           x x - - - - - - - -
    Control.ListNetworks            x x - - - - - - - -
    Control.InspectNetwork          x x - - - - - - - -
    Control.RemoveNetwork           x x - - - - - - - -
    NodeSession.Session             - x x x - - - - - -
    NodeSession.Attach              - x x x - - - - - -
    NodeSession.Detach              - x x x - - - - - -
    NodeSession.Leave               - x x x - - - - - -
    NodeSession.FindNetwork         - x x x - - - - - -
    SessionReports.Report           - x x - - - - - - -
    SessionReports.Collect          - x - - - - - - - -
    CertificateAuthority.Join       - - - - x x - - x x
    CertificateAuthority.Renew      - x x x x - - - - -
    Raft.Append                     - x x - - - - - - -
    Raft.Vote                       - x x - - - - - - -
    Raft.Snapshot                   - x x - - - - - - -
    Raft.TransferLeader             - x x - - - - - - -
    Raft.Propose                    - x x - - - - - - -
    Raft.ReadIndex                  - x x - - - - - - -
    Raft.JoinMembership             - x - - - - - - - -
    Raft.LeaveMembership            - x x - - - - - - -
    Raft.HandOver                   - x - - - - - - - -
";

/// A caller of each class, against one state.
struct Callers {
    fixture: Fixture,
    cluster: ClusterId,
}

impl Callers {
    fn new() -> Self {
        let mut fixture = Fixture::new();
        fixture.add_manager(2);
        let retiring = fixture.add_manager(3);
        fixture.set_role(retiring, Role::Worker);
        fixture.add_node(4, Role::Worker);
        let removed = fixture.add_node(5, Role::Worker);
        fixture.apply(vec![rcon_proto::v1::op::Op::RemoveNode(rcon_proto::convert::id_bytes(removed))]);
        let cluster = fixture.founded.cluster_id;
        Self { fixture, cluster }
    }

    /// The certificate of host `h<number>`.
    fn certificate(&self, number: u8, role: Role) -> PeerIdentity {
        PeerIdentity {
            node_id: NodeId::from_bytes([number; 16]),
            role,
            cluster_id: self.cluster,
            public_key_digest: [number; 32],
            expired: false,
        }
    }

    fn of(&self, class: CallerClass) -> Origin {
        let certificate = match class {
            CallerClass::LocalAdministrator => return Origin::Local,
            CallerClass::Anonymous => return Origin::Remote(None),
            CallerClass::Manager => self.certificate(2, Role::Manager),
            CallerClass::RetiringManager => self.certificate(3, Role::Manager),
            CallerClass::Worker => self.certificate(4, Role::Worker),
            CallerClass::Expired => PeerIdentity { expired: true, ..self.certificate(2, Role::Manager) },
            CallerClass::Removed => self.certificate(5, Role::Worker),
            CallerClass::Unknown => self.certificate(6, Role::Manager),
            CallerClass::WrongKey => PeerIdentity { public_key_digest: [0; 32], ..self.certificate(2, Role::Manager) },
            CallerClass::Foreign => PeerIdentity { cluster_id: ClusterId::from_bytes([1; 16]), ..self.certificate(2, Role::Manager) },
        };
        Origin::Remote(Some(certificate))
    }
}

#[test]
fn each_cell_of_the_table_is_as_it_must_be() {
    let callers = Callers::new();
    let mut rows = 0;
    for line in EXPECTED.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (service, method) = words.next().unwrap().split_once('.').unwrap();
        let rule = rule_of(service, method).unwrap_or_else(|| panic!("{service}.{method} is not in the table"));
        let cells: Vec<&str> = words.collect();
        assert_eq!(cells.len(), CallerClass::ALL.len(), "{line}");
        for (class, cell) in CallerClass::ALL.into_iter().zip(cells) {
            let outcome = authorise(rule, &callers.of(class), callers.cluster, &callers.fixture.state);
            assert_eq!(outcome.is_ok(), cell == "x", "{service}.{method} by {class:?}: {outcome:?}");
            match outcome {
                Ok(admitted) => assert_eq!(admitted.class, class),
                Err(failure) => assert!(!failure.message.is_empty()),
            }
        }
        rows += 1;
    }
    assert_eq!(rows, TABLE.len());
}

#[test]
fn every_procedure_of_the_protos_is_in_the_table_and_none_else() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/rcon/v1");
    let mut declared = BTreeSet::new();
    for file in ["control", "session", "ca", "raft"] {
        let text = std::fs::read_to_string(directory.join(format!("{file}.proto"))).unwrap();
        let mut service = "";
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                service = rest.split([' ', '{']).next().unwrap();
            } else if let Some(rest) = line.strip_prefix("rpc ") {
                declared.insert((service.to_owned(), rest.split('(').next().unwrap().to_owned()));
            }
        }
    }
    let listed: BTreeSet<(String, String)> = TABLE.iter().map(|rule| (rule.service.to_owned(), rule.method.to_owned())).collect();
    assert_eq!(listed.len(), TABLE.len(), "a procedure is listed twice");
    assert_eq!(listed, declared);
}

#[test]
fn certificate_and_record_must_agree_for_a_manager() {
    let callers = Callers::new();
    let class = |identity| classify(&Origin::Remote(Some(identity)), callers.cluster, &callers.fixture.state);
    assert_eq!(class(callers.certificate(2, Role::Manager)), CallerClass::Manager);
    // Promoted, with the certificate of before.
    assert_eq!(class(callers.certificate(2, Role::Worker)), CallerClass::Worker);
    // Demoted, with the certificate of before.
    assert_eq!(class(callers.certificate(4, Role::Manager)), CallerClass::Worker);
    assert_eq!(class(callers.certificate(3, Role::Manager)), CallerClass::RetiringManager);
    assert_eq!(class(callers.certificate(3, Role::Worker)), CallerClass::Worker);
}

#[test]
fn an_expired_certificate_of_a_removed_node_or_of_another_key_renews_nothing() {
    let callers = Callers::new();
    let expired = |identity: PeerIdentity| PeerIdentity { expired: true, ..identity };
    let class = |identity| classify(&Origin::Remote(Some(identity)), callers.cluster, &callers.fixture.state);
    assert_eq!(class(expired(callers.certificate(5, Role::Worker))), CallerClass::Removed);
    let other_key = PeerIdentity { public_key_digest: [0; 32], ..callers.certificate(4, Role::Worker) };
    assert_eq!(class(expired(other_key)), CallerClass::WrongKey);
    assert_eq!(class(expired(callers.certificate(4, Role::Worker))), CallerClass::Expired);
}

#[test]
fn a_worker_that_administers_is_told_which_managers_to_ask() {
    let callers = Callers::new();
    let rule = rule_of("Control", "CreateNetwork").unwrap();
    let failure = authorise(rule, &callers.of(CallerClass::Worker), callers.cluster, &callers.fixture.state).unwrap_err();
    assert_eq!(failure.kind, FailureKind::PermissionDenied);
    assert!(failure.message.contains("`h4` is a worker"), "{failure}");
    let hint = failure.hint.unwrap();
    assert!(hint.contains("h1 (192.168.0.1:2377)") && hint.contains("h2 (192.168.0.2:2377)"), "{hint}");
}
