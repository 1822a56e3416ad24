//! The one rule in a container's namespace: port 53 of the resolver leads to where `rcond dns` listens.
//!
//! Sent as one nf_tables transaction made here: an `nft` process would cost each container 4 ms. Numbers are those of
//! `include/uapi/linux/netfilter/nf_tables.h`.

use std::io;

use rcon_netplan::{DNS_ADDRESS, DNS_PORT};

use crate::{
    attribute::Attributes,
    firewall::{SUBSYSTEM, generation},
    socket::{Message, Netlink},
};

const TABLE: &str = "rcon";
const CHAIN: &str = "dns";
/// What containers ask (RFC 1035 §4.2).
const PORT_ASKED: u16 = 53;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
/// `NFNL_SUBSYS_NFTABLES`, to which a batch belongs.
const RESOURCE: u16 = 10;

const FAMILY_IPV4: u8 = 2;
const HOOK_LOCAL_OUT: u32 = 3;
/// `NF_IP_PRI_NAT_DST`.
const PRIORITY_NAT_DST: i32 = -100;
const REGISTER: u32 = 1;
const BASE_NETWORK_HEADER: u32 = 1;
const BASE_TRANSPORT_HEADER: u32 = 2;
/// Where the destination address is in an IPv4 header (RFC 791 §3.1).
const DESTINATION_OFFSET: u32 = 16;
/// Where the destination port is in a UDP and in a TCP header.
const PORT_OFFSET: u32 = 2;
const META_L4_PROTOCOL: u32 = 16;
const NAT_DESTINATION: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`.
const NAT_PORT_GIVEN: u32 = 2;

/// Puts the rule in place of whatever the table had, and returns the ruleset's generation after it.
pub(crate) fn install(socket: &mut Netlink) -> io::Result<u32> {
    let protocols = [libc::IPPROTO_UDP, libc::IPPROTO_TCP].map(|number| u8::try_from(number).unwrap_or(0));
    let mut messages = vec![
        // Made first, so that there is something to delete.
        request(NEW_TABLE, libc::NLM_F_CREATE, named_table(1)),
        request(DELETE_TABLE, 0, named_table(1)),
        request(NEW_TABLE, libc::NLM_F_CREATE, named_table(1)),
        request(NEW_CHAIN, libc::NLM_F_CREATE, chain()),
    ];
    messages.extend(protocols.map(|protocol| request(NEW_RULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, rule(protocol))));
    let frame = |kind| Message { kind, flags: 0, body: header(0, RESOURCE).to_vec() };
    socket.transaction(&frame(BATCH_BEGIN), &messages, &frame(BATCH_END))?;
    generation(socket)
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn request(kind: u16, flags: libc::c_int, body: Attributes) -> Message {
    Message { kind, flags: u16::try_from(flags).unwrap_or(0), body: body.finish() }
}

fn named_table(attribute: u16) -> Attributes {
    Attributes::after(&header(FAMILY_IPV4, 0)).text(attribute, TABLE)
}

/// Types: table 1, name 3, hook 4 {number 1, priority 2}, policy 5, type 7.
fn chain() -> Attributes {
    let hook = Attributes::default().be32(1, HOOK_LOCAL_OUT).bytes(2, &PRIORITY_NAT_DST.to_be_bytes());
    named_table(1).text(3, CHAIN).nest(4, hook).text(7, "nat")
}

/// Types: table 1, chain 2, expressions 4.
fn rule(protocol: u8) -> Attributes {
    let expressions = Attributes::default();
    let expressions = expression(expressions, "meta", Attributes::default().be32(1, REGISTER).be32(2, META_L4_PROTOCOL));
    let expressions = equals(expressions, &[protocol]);
    let expressions = expression(expressions, "payload", payload(BASE_NETWORK_HEADER, DESTINATION_OFFSET, 4));
    let expressions = equals(expressions, &DNS_ADDRESS.octets());
    let expressions = expression(expressions, "payload", payload(BASE_TRANSPORT_HEADER, PORT_OFFSET, 2));
    let expressions = equals(expressions, &PORT_ASKED.to_be_bytes());
    let expressions = expression(expressions, "immediate", Attributes::default().be32(1, REGISTER).nest(2, value(&DNS_PORT.to_be_bytes())));
    // Type 1, family 2, first port's register 5, flags 7. The address stays as it is.
    let nat = Attributes::default().be32(1, NAT_DESTINATION).be32(2, FAMILY_IPV4.into()).be32(5, REGISTER).be32(7, NAT_PORT_GIVEN);
    let expressions = expression(expressions, "nat", nat);
    named_table(1).text(2, CHAIN).nest(4, expressions)
}

/// Register 1, base 2, offset 3, length 4.
fn payload(base: u32, offset: u32, length: u32) -> Attributes {
    Attributes::default().be32(1, REGISTER).be32(2, base).be32(3, offset).be32(4, length)
}

/// Register 1, operation 2 (0: equal), value 3.
fn equals(list: Attributes, bytes: &[u8]) -> Attributes {
    expression(list, "cmp", Attributes::default().be32(1, REGISTER).be32(2, 0).nest(3, value(bytes)))
}

fn value(bytes: &[u8]) -> Attributes {
    Attributes::default().bytes(1, bytes)
}

/// A list's element 1 of name 1 and data 2.
fn expression(list: Attributes, name: &str, data: Attributes) -> Attributes {
    list.nest(1, Attributes::default().text(1, name).nest(2, data))
}
