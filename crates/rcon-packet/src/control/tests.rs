//! Messages survive the socket, and nothing that is not a message hurts.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use rcon_types::{FailureKind, MacAddr, Mtu, NodeId};

use super::*;

fn node(n: u8) -> NodeId {
    NodeId::from_bytes([n; 16])
}

fn peer(n: u8) -> Peer {
    Peer {
        node: node(n),
        public_key: PublicKey([n; 32]),
        endpoint: Some(([10, 0, 0, n], 51820).into()),
        vtep: Ipv4Addr::new(100, 96, 0, n),
    }
}

fn network(vni: u32) -> Network {
    Network {
        vni: Vni::new(vni).unwrap(),
        tap: format!("rctap{vni}"),
        mtu: Mtu(1370),
        stations: vec![Station { mac: MacAddr([2, 0x42, 10, 0, 0, 2]), node: node(2) }],
        replicate_to: vec![node(2), node(3)],
    }
}

fn tables() -> Tables {
    Tables {
        revision: Revision(7),
        private_key_file: "/var/lib/rcond/identity/wireguard.key".into(),
        vtep: Ipv4Addr::new(100, 96, 0, 1),
        listen_port: 51820,
        peers: vec![peer(2), peer(3)],
        networks: vec![network(4096), network(4097)],
    }
}

fn refused(change: impl FnOnce(&mut Tables)) -> TablesError {
    let mut tables = tables();
    change(&mut tables);
    ValidTables::try_from(tables).unwrap_err()
}

#[test]
fn messages_survive_the_socket() {
    for command in [Command::SetTables(Box::new(tables())), Command::Status, Command::Handover, Command::Stop] {
        let request = Request::new(command);
        let bytes = encode(&request).unwrap();
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        assert_eq!(body_length(*header).unwrap(), body.len());
        assert_eq!(decode::<Request>(body).unwrap(), request);
    }
    let drops = Drops::from([(DropReason::Replayed, 3)]);
    let status = Status { revision: Revision(1), pid: 1, public_key: None, listen_port: 0, peers: vec![], networks: vec![], drops };
    let reply = Reply::Status(Box::new(status));
    assert_eq!(decode::<Reply>(&encode(&reply).unwrap()[HEADER_BYTES..]).unwrap(), reply);
}

#[test]
fn tables_that_hold_together_are_taken() {
    assert!(ValidTables::try_from(tables()).is_ok());
}

#[test]
fn tables_that_do_not_hold_together_are_refused() {
    assert_eq!(refused(|t| t.listen_port = 0), TablesError::NoPort);
    assert_eq!(refused(|t| t.private_key_file = "key".into()), TablesError::RelativeKeyPath);
    assert!(matches!(refused(|t| t.peers[1].node = node(2)), TablesError::Duplicate { what: "node", .. }));
    assert!(matches!(refused(|t| t.peers[1].public_key = PublicKey([2; 32])), TablesError::Duplicate { what: "public key", .. }));
    assert!(matches!(refused(|t| t.peers[1].vtep = t.vtep), TablesError::Duplicate { what: "tunnel address", .. }));
    assert!(matches!(refused(|t| t.networks[1].vni = Vni::FIRST), TablesError::Duplicate { what: "network", .. }));
    assert!(matches!(refused(|t| t.networks[1].tap = t.networks[0].tap.clone()), TablesError::Duplicate { what: "interface", .. }));
    assert!(matches!(refused(|t| t.networks[0].stations.extend_from_within(..)), TablesError::Duplicate { what: "station", .. }));
    assert!(matches!(refused(|t| t.networks[0].replicate_to.push(node(9))), TablesError::UnknownNode { .. }));
    assert!(matches!(refused(|t| t.networks[0].stations[0].mac = MacAddr::BROADCAST), TablesError::GroupStation { .. }));
    assert!(matches!(refused(|t| t.networks[0].mtu = Mtu(100)), TablesError::Mtu { .. }));
    for name in ["", ".", "..", "a/b", "a b", "a:b", "a%d", "sixteen-letters-", "tëp"] {
        assert!(matches!(refused(|t| t.networks[0].tap = name.into()), TablesError::TapName { .. }), "{name}");
    }
    let error = refused(|t| t.peers = (0..5000).map(|_| peer(2)).collect());
    assert_eq!(error, TablesError::TooMany { what: "peers", count: 5000, limit: MAX_PEERS });
    assert_eq!(error.failure().kind, FailureKind::InvalidArgument);
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_header() {
    assert!(matches!(body_length([0xff; 4]), Err(FramingError::TooLong { .. })));
    assert!(matches!(decode::<Request>(&vec![b' '; MAX_MESSAGE_BYTES + 1]), Err(FramingError::TooLong { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in 0_usize..2000, value: u8) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Reply>(&bytes);
        let mut message = encode(&Request::new(Command::SetTables(Box::new(tables())))).unwrap().split_off(HEADER_BYTES);
        let at = flip % message.len();
        message[at] = value;
        if let Ok(Request { command: Command::SetTables(tables), .. }) = decode(&message) {
            let _ = ValidTables::try_from(*tables);
        }
    }

    #[test]
    fn every_key_survives_its_text(bytes: [u8; 32]) {
        prop_assert_eq!(PublicKey(bytes).to_string().parse::<PublicKey>().unwrap(), PublicKey(bytes));
    }
}
