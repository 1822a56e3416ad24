//! What a query gets: an answer of our own, a question to the upstreams, an error, or silence. Pure: bytes in, a decision out.

use std::net::IpAddr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};
use rand::{Rng, seq::SliceRandom};

use crate::{limits, zone::View};

/// The fixed part of every message, in bytes (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// The most bytes that one of our address records takes: a pointer to the name, the fixed part and an IPv6 address.
const RECORD: usize = 28;

/// How a query came, and so how large its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A stream with lengths.
    Tcp,
}

/// What is done with a query.
#[derive(Debug)]
pub enum Decision {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask the upstreams of the view.
    Forward(Question),
    /// It is no query: say nothing.
    Drop,
}

/// A query that we have no answer for.
#[derive(Debug)]
pub struct Question {
    message: Message,
    /// The query as it came.
    pub bytes: Vec<u8>,
    /// The most bytes that the client takes.
    pub limit: usize,
}

/// Decides on a message from a container. `random` shuffles the addresses.
pub fn decide(view: &View, bytes: &[u8], transport: Transport, random: &mut impl Rng) -> Decision {
    let message = match parse(bytes) {
        Parsed::Query(message) => message,
        Parsed::Error(code) => return Decision::Reply(bare_error(bytes, code)),
        Parsed::Silence => return Decision::Drop,
    };
    let limit = limit(&message, transport);
    let query = &message.queries[0];
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Decision::Reply(finish(reply(&message, ResponseCode::BADVERS), limit));
    }
    if !matches!(query.query_class(), DNSClass::IN) || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return Decision::Reply(finish(reply(&message, ResponseCode::Refused), limit));
    }
    if let Some(mut answers) = local(view, query) {
        answers.shuffle(random);
        let mut response = reply(&message, ResponseCode::NoError);
        response.metadata.authoritative = true;
        response.add_answers(answers);
        return Decision::Reply(finish(response, limit));
    }
    if view.upstreams.is_empty() {
        return Decision::Reply(finish(reply(&message, ResponseCode::NXDomain), limit));
    }
    Decision::Forward(Question { bytes: bytes.to_vec(), message, limit })
}

/// Our own answers to a question; `None` where it is none of ours. Empty is an answer too: the name is there, a record of
/// that type is not (a resolver that got NXDOMAIN for AAAA would give up on A as well).
fn local(view: &View, query: &Query) -> Option<Vec<Record>> {
    let name = query.name();
    if query.query_type() == RecordType::PTR {
        let address = name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len())?.addr();
        let mut target = Name::from_labels(view.name(address)?.split('.').map(str::as_bytes)).ok()?;
        target.set_fqdn(true);
        return Some(vec![Record::from_rdata(name.clone(), limits::TTL_S, RData::PTR(PTR(target)))]);
    }
    let found = view.addresses(&text(name)?)?;
    let wanted = |address: &&IpAddr| match query.query_type() {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        kind => kind == RecordType::ANY,
    };
    Some(found.iter().filter(wanted).map(|address| Record::from_rdata(name.clone(), limits::TTL_S, rdata(*address))).collect())
}

/// The name as people write it; `None` for one that cannot be a name of ours, such as one with a dot inside a label.
fn text(name: &Name) -> Option<String> {
    let labels: Option<Vec<&str>> = name
        .iter()
        .map(|label| std::str::from_utf8(label).ok().filter(|label| label.bytes().all(|b| b.is_ascii_graphic() && b != b'.')))
        .collect();
    Some(labels?.join("."))
}

fn rdata(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

impl Question {
    /// The reply when no upstream could be asked.
    #[must_use]
    pub fn failed(&self) -> Vec<u8> {
        finish(reply(&self.message, ResponseCode::ServFail), self.limit)
    }

    /// The reply that asks the client to come again by TCP.
    #[must_use]
    pub fn too_large(&self) -> Vec<u8> {
        let mut response = reply(&self.message, ResponseCode::NoError);
        response.metadata.truncation = true;
        finish(response, self.limit)
    }

    /// The code of a message, where it is the answer to this question asked under `id`. Anything else that arrives on the
    /// socket (late, or forged) is not.
    #[must_use]
    pub fn answered_by(&self, bytes: &[u8], id: u16) -> Option<ResponseCode> {
        // A truncated message may not parse beyond its question, so no more than that is parsed.
        let head = bytes.get(..HEADER)?;
        if head[..2] != id.to_be_bytes() || head[2] & 0x80 == 0 || head[4..6] != [0, 1] {
            return None;
        }
        let code = ResponseCode::from_low(head[3] & 0x0f);
        let question = self.question_bytes()?;
        let echoed = bytes.get(HEADER..HEADER + question.len())?;
        echoed.eq_ignore_ascii_case(question).then_some(code)
    }

    /// The question section as it came: a name without compression, type and class.
    fn question_bytes(&self) -> Option<&[u8]> {
        let mut at = HEADER;
        loop {
            match *self.bytes.get(at)? {
                0 => return self.bytes.get(HEADER..at + 5),
                length @ 1..=63 => at += usize::from(length) + 1,
                _ => return None,
            }
        }
    }
}

enum Parsed {
    Query(Message),
    Error(ResponseCode),
    Silence,
}

/// Reads a query. What is plainly none is sorted out by its header first, before memory is spent on it.
fn parse(bytes: &[u8]) -> Parsed {
    let Some(head) = bytes.get(..HEADER) else { return Parsed::Silence };
    let count = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    if head[2] & 0x80 != 0 {
        return Parsed::Silence;
    }
    if OpCode::from_u8((head[2] >> 3) & 0x0f) != OpCode::Query {
        return Parsed::Error(ResponseCode::NotImp);
    }
    // One question (RFC 9619 §4), no records but OPT and perhaps a signature.
    if bytes.len() > limits::MAX_QUERY || (count(4), count(6), count(8)) != (1, 0, 0) || count(10) > 2 {
        return Parsed::Error(ResponseCode::FormErr);
    }
    match Message::from_vec(bytes) {
        Ok(message) if message.metadata.message_type == MessageType::Query && message.queries.len() == 1 => Parsed::Query(message),
        _ => Parsed::Error(ResponseCode::FormErr),
    }
}

fn limit(message: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => message
            .edns
            .as_ref()
            .map_or(limits::UDP_PLAIN, |edns| usize::from(edns.max_payload()).clamp(limits::UDP_PLAIN, limits::UDP_MOST)),
    }
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut response = Message::response(query.metadata.id, OpCode::Query);
    response.metadata.response_code = code;
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(limits::EDNS_PAYLOAD);
        response.set_edns(edns);
    }
    response
}

/// The bytes of a reply, with as many answers as fit.
fn finish(mut response: Message, limit: usize) -> Vec<u8> {
    let encode = |response: &Message| response.to_vec().unwrap_or_default();
    let most = limit / RECORD;
    if response.answers.len() <= most {
        let bytes = encode(&response);
        if bytes.len() <= limit {
            return bytes;
        }
    }
    let answers = std::mem::take(&mut response.answers);
    response.metadata.truncation = true;
    let room = limit.saturating_sub(encode(&response).len()) / RECORD;
    response.answers = answers.into_iter().take(room).collect();
    let bytes = encode(&response);
    if bytes.len() <= limit {
        return bytes;
    }
    response.answers.clear();
    encode(&response)
}

/// A reply to a message whose question could not be read: its id, and the error.
fn bare_error(bytes: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&bytes[..2]);
    // QR, and the operation and RD as they came.
    reply[2] = 0x80 | (bytes[2] & 0x79);
    reply[3] = code.low();
    reply
}

#[cfg(test)]
mod tests;
