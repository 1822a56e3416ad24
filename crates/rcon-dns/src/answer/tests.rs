use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::Arc,
};

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use rcon_netplan::dns::{DnsContainer, DnsHost, DnsNetwork, DnsSnapshot};

use super::*;
use crate::zone::Zone;

fn view(upstreams: &[&str]) -> View {
    let many = (0..2000).map(|i| IpAddr::from([10, 9, (i / 250) as u8, (i % 250) as u8])).collect();
    let network = DnsNetwork {
        name: "backend".to_owned(),
        hosts: vec![
            DnsHost { names: vec!["web".to_owned()], addresses: vec!["10.0.0.2".parse().unwrap()] },
            DnsHost { names: vec!["a_b.-c".to_owned()], addresses: vec!["10.0.0.9".parse().unwrap()] },
            DnsHost { names: vec!["six".to_owned()], addresses: vec!["fd00::6".parse().unwrap()] },
            DnsHost { names: vec!["few".to_owned()], addresses: (1..=8).map(|i| IpAddr::from([10, 0, 1, i])).collect() },
            DnsHost { names: vec!["many".to_owned()], addresses: many },
        ],
    };
    let snapshot = DnsSnapshot { upstreams: upstreams.iter().map(|u| u.parse().unwrap()).collect(), ..DnsSnapshot::default() };
    let container = DnsContainer { namespace: "".into(), networks: vec!["n".to_owned()], search: vec![], upstreams: None };
    View::new(&snapshot, &container, &BTreeMap::from([("n".to_owned(), Arc::new(Zone::new(&network)))]))
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

fn ask(message: &Message, transport: Transport) -> Message {
    match decide(&view(&[]), &message.to_vec().unwrap(), transport, &mut StdRng::seed_from_u64(1)) {
        Decision::Reply(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::A(a) => IpAddr::V4(a.0),
            RData::AAAA(a) => IpAddr::V6(a.0),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_name_of_ours_is_answered_with_a_short_life_and_in_the_askers_spelling() {
    let reply = ask(&query("WeB.", RecordType::A), Transport::Udp);
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (4711, ResponseCode::NoError));
    assert!(reply.metadata.authoritative && reply.metadata.recursion_desired && reply.metadata.recursion_available);
    assert_eq!(addresses(&reply), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(reply.answers[0].ttl, limits::TTL_S);
    assert!(reply.answers[0].name.eq_case(&Name::from_str("WeB.").unwrap()), "{}", reply.answers[0].name);
    assert!(reply.edns.is_none());
}

#[test]
fn a_type_that_a_name_of_ours_lacks_is_no_data_and_never_nxdomain() {
    for (name, kind) in [("web.", RecordType::AAAA), ("six.", RecordType::A), ("web.", RecordType::MX), ("web.", RecordType::SRV)] {
        let reply = ask(&query(name, kind), Transport::Udp);
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{name} {kind}");
    }
    assert_eq!(addresses(&ask(&query("six.", RecordType::AAAA), Transport::Udp)).len(), 1);
    assert_eq!(addresses(&ask(&query("six.", RecordType::ANY), Transport::Udp)).len(), 1);
}

#[test]
fn an_address_of_ours_has_a_name_in_either_family() {
    for (arpa, expected) in [
        ("2.0.0.10.in-addr.arpa.", "web.backend."),
        ("6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.IP6.ARPA.", "six.backend."),
    ] {
        let reply = ask(&query(arpa, RecordType::PTR), Transport::Udp);
        assert_eq!(reply.answers[0].data, RData::PTR(PTR(Name::from_str(expected).unwrap())), "{arpa}");
    }
    let reply = ask(&query("9.0.0.10.in-addr.arpa.", RecordType::PTR), Transport::Udp);
    let RData::PTR(PTR(odd)) = &reply.answers[0].data else { panic!("{reply}") };
    assert_eq!(odd.iter().collect::<Vec<_>>(), [&b"a_b"[..], b"-c", b"backend"]);
    let mut back = query("x.", RecordType::A);
    back.queries[0].set_name(odd.clone());
    assert_eq!(addresses(&ask(&back, Transport::Udp)).len(), 1, "names that only containers have");
    for other in ["3.0.0.10.in-addr.arpa.", "0.10.in-addr.arpa.", "web.", "."] {
        assert!(matches!(ask(&query(other, RecordType::PTR), Transport::Udp).answers.as_slice(), []), "{other}");
    }
}

#[test]
fn addresses_come_in_changing_order() {
    let bytes = query("few.", RecordType::A).to_vec().unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let first: BTreeSet<IpAddr> = (0..100)
        .map(|_| match decide(&view(&[]), &bytes, Transport::Udp, &mut random) {
            Decision::Reply(bytes) => addresses(&Message::from_vec(&bytes).unwrap())[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(first.len(), 8, "each of the eight is first at some time");
}

#[test]
fn an_unknown_name_goes_to_the_upstreams_or_is_not_there_where_there_are_none() {
    let reply = ask(&query("example.com.", RecordType::A), Transport::Udp);
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    let bytes = query("example.com.", RecordType::A).to_vec().unwrap();
    let decision = decide(&view(&["127.0.0.1:5353"]), &bytes, Transport::Udp, &mut StdRng::seed_from_u64(1));
    assert!(matches!(decision, Decision::Forward(Question { limit: 512, .. })), "{decision:?}");
}

#[test]
fn an_answer_fits_the_askers_datagram_or_says_that_it_does_not() {
    let mut plain = query("many.", RecordType::A);
    let reply = ask(&plain, Transport::Udp);
    assert!(reply.metadata.truncation && (10..=31).contains(&reply.answers.len()), "{}", reply.answers.len());
    assert!(reply.to_vec().unwrap().len() <= 512);

    let mut edns = Edns::new();
    edns.set_max_payload(1400);
    plain.set_edns(edns);
    let reply = ask(&plain, Transport::Udp);
    let length = reply.to_vec().unwrap().len();
    assert!(reply.metadata.truncation && (1000..=1400).contains(&length) || length > 512 && length <= 1400, "{length}");
    assert_eq!(reply.edns.as_ref().unwrap().max_payload(), limits::EDNS_PAYLOAD);

    let reply = ask(&plain, Transport::Tcp);
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 2000);
}

#[test]
fn what_is_no_ordinary_question_gets_its_error() {
    let mut newer = query("web.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    let reply = ask(&newer, Transport::Udp);
    assert_eq!(u16::from(reply.metadata.response_code), 16, "BADVERS, which has its number from BADSIG");

    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(ask(&chaos, Transport::Udp).metadata.response_code, ResponseCode::Refused);
    assert_eq!(ask(&query("web.", RecordType::AXFR), Transport::Tcp).metadata.response_code, ResponseCode::Refused);

    let code = |bytes: &[u8]| match decide(&view(&[]), bytes, Transport::Udp, &mut StdRng::seed_from_u64(1)) {
        Decision::Reply(reply) => {
            assert_eq!(reply[..2], bytes[..2]);
            Some(ResponseCode::from_low(reply[3] & 0x0f))
        }
        Decision::Drop => None,
        Decision::Forward(_) => panic!("forwarded"),
    };
    let good = query("web.", RecordType::A).to_vec().unwrap();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(code(&with(2, 0x28)), Some(ResponseCode::NotImp), "an update");
    assert_eq!(code(&with(5, 2)), Some(ResponseCode::FormErr), "two questions, one there");
    assert_eq!(code(&with(5, 0)), Some(ResponseCode::FormErr), "no question");
    assert_eq!(code(&with(4, 0xff)), Some(ResponseCode::FormErr), "65281 questions");
    assert_eq!(code(&good[..good.len() - 1]), Some(ResponseCode::FormErr), "cut");
    assert_eq!(code(&with(2, 0x81)), None, "a response is never answered: two servers would talk for ever");
    assert_eq!(code(&good[..11]), None);
    assert_eq!(code(&[]), None);
}

#[test]
fn only_the_answer_to_the_question_under_its_id_counts() {
    let bytes = query("Example.com.", RecordType::A).to_vec().unwrap();
    let Decision::Forward(question) = decide(&view(&["127.0.0.1:1"]), &bytes, Transport::Udp, &mut StdRng::seed_from_u64(1)) else {
        panic!("not forwarded")
    };
    let answer = |name: &str, id: u16| {
        let mut message = Message::response(id, OpCode::Query);
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    };
    assert_eq!(question.answered_by(&answer("example.com.", 9), 9), Some(ResponseCode::NXDomain));
    assert_eq!(question.answered_by(&answer("example.com.", 8), 9), None);
    assert_eq!(question.answered_by(&answer("example.org.", 9), 9), None);
    assert_eq!(question.answered_by(&bytes, 4711), None, "the query itself");
    assert_eq!(question.answered_by(&[], 9), None);
    let failed = Message::from_vec(&question.failed()).unwrap();
    assert_eq!((failed.metadata.id, failed.metadata.response_code), (4711, ResponseCode::ServFail));
    assert!(Message::from_vec(&question.too_large()).unwrap().metadata.truncation);
}

proptest! {
    #[test]
    fn no_message_makes_us_panic_or_answer_at_length(bytes in proptest::collection::vec(any::<u8>(), 0..700), tcp: bool) {
        check(&bytes, tcp);
    }

    #[test]
    fn no_damaged_query_makes_us_panic_or_answer_at_length(
        name in "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,20}(\\.[a-z0-9]{1,20}){0,5}",
        kind: u16,
        payload: u16,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut: proptest::sample::Index,
        tcp: bool,
    ) {
        let mut message = query(&format!("{name}."), RecordType::from(kind));
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
        let mut bytes = message.to_vec().unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes, tcp);
        bytes.truncate(cut.index(bytes.len()));
        check(&bytes, tcp);
    }
}

fn check(bytes: &[u8], tcp: bool) {
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    for upstreams in [&[][..], &["127.0.0.1:1"]] {
        match decide(&view_small(upstreams), bytes, transport, &mut StdRng::seed_from_u64(1)) {
            Decision::Reply(reply) => {
                assert!(reply.len() <= if tcp { 65535 } else { limits::UDP_MOST });
                assert_eq!(reply[..2], bytes[..2]);
                assert_eq!(reply[2] & 0x80, 0x80);
            }
            Decision::Forward(question) => {
                assert!(question.failed().len() <= question.limit.max(300));
                let _ = question.answered_by(bytes, 1);
            }
            Decision::Drop => {}
        }
    }
}

fn view_small(upstreams: &[&str]) -> View {
    let snapshot = DnsSnapshot { upstreams: upstreams.iter().map(|u| u.parse().unwrap()).collect(), ..DnsSnapshot::default() };
    let container = DnsContainer { namespace: "".into(), networks: vec![], search: vec!["a".to_owned()], upstreams: None };
    View::new(&snapshot, &container, &BTreeMap::new())
}
