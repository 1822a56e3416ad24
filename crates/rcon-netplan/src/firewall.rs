//! The firewall tables that are ours, in nft's language: `inet rcon` in the host, `inet rcon` and `bridge rcon` inside.
//!
//! Everybody else's tables are never touched. What changes often is elements of sets; the structure changes only when a
//! kind of network appears or goes.

use std::{collections::BTreeSet, fmt::Write, net::IpAddr};

use crate::{
    constants::{GATEWAY_MAC, INNER_VXLAN_PORT},
    kernel::Table,
    link_address::LinkAddresses,
    names::{ANY_TAP, ANY_VXLAN, HOST_LINK, OVERLAY_LINK, WIREGUARD},
};

/// The table of layer 3 rules, in the host and inside.
pub const INET: &str = "inet rcon";
/// The table of layer 2 rules, inside.
pub const BRIDGE: &str = "bridge rcon";
/// The counter of plain VXLAN packets of strangers, in the host.
pub const STRANGERS_COUNTER: &str = "strangers";

const SENDERS_V4: &str = "plain_senders_v4";
const SENDERS_V6: &str = "plain_senders_v6";
const EGRESS: &str = "egress";

/// What the host's own table depends on.
#[derive(Debug, Clone, Default)]
pub struct HostRules {
    /// The port of plain overlays and who may send to it; `None` while there is no plain overlay.
    pub plain: Option<(u16, BTreeSet<IpAddr>)>,
    /// The link to `rcon-overlay`; `None` while nothing can leave.
    pub link: Option<LinkAddresses>,
}

/// What the tables inside `rcon-overlay` depend on.
#[derive(Debug, Clone, Default)]
pub struct OverlayRules {
    /// Bridges of networks that containers can leave.
    pub egress: BTreeSet<String>,
    /// The link to the host; `None` while nothing can leave.
    pub link: Option<LinkAddresses>,
    /// Whether the kernel's WireGuard brings VXLAN in.
    pub wireguard: bool,
}

/// The host's table; `None` where no rule is needed.
#[must_use]
pub fn host_table(rules: &HostRules) -> Option<Table> {
    if rules.plain.is_none() && rules.link.is_none() {
        return None;
    }
    let mut table = Table::default();
    if let Some((port, senders)) = &rules.plain {
        let (v4, v6): (BTreeSet<&IpAddr>, BTreeSet<&IpAddr>) = senders.iter().partition(|address| address.is_ipv4());
        table.sets.insert(SENDERS_V4, v4.into_iter().map(ToString::to_string).collect());
        table.sets.insert(SENDERS_V6, v6.into_iter().map(ToString::to_string).collect());
        table.structure.push_str(&plain_rules(*port));
    }
    if let Some(link) = &rules.link {
        table.structure.push_str(&host_link_rules(link));
    }
    Some(table)
}

/// A VXLAN socket takes frames from anyone: only nodes that share a plain overlay may reach it. Tracking them has no use.
fn plain_rules(port: u16) -> String {
    format!(
        "\tset {SENDERS_V4} {{
\t\ttype ipv4_addr;
\t}}
\tset {SENDERS_V6} {{
\t\ttype ipv6_addr;
\t}}
\tcounter {STRANGERS_COUNTER} {{
\t}}
\tchain untracked_in {{
\t\ttype filter hook prerouting priority -300; policy accept;
\t\tudp dport {port} fib daddr type local notrack
\t}}
\tchain untracked_out {{
\t\ttype filter hook output priority -300; policy accept;
\t\tudp dport {port} notrack
\t}}
\tchain input {{
\t\ttype filter hook input priority -10; policy accept;
\t\tudp dport {port} ip saddr @{SENDERS_V4} accept
\t\tudp dport {port} ip6 saddr @{SENDERS_V6} accept
\t\tudp dport {port} counter name {STRANGERS_COUNTER} drop
\t}}
"
    )
}

/// Nothing is forwarded to the link but answers; what comes from its inner end leaves with the host's address.
fn host_link_rules(link: &LinkAddresses) -> String {
    let (v4, v6) = (link.overlay_v4.addr(), link.overlay_v6.addr());
    format!(
        "\tchain forward {{
\t\ttype filter hook forward priority 0; policy accept;
\t\toifname \"{HOST_LINK}\" ct state established,related accept
\t\toifname \"{HOST_LINK}\" drop
\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority 100; policy accept;
\t\tip saddr {v4} oifname != \"{HOST_LINK}\" masquerade
\t\tip6 saddr {v6} oifname != \"{HOST_LINK}\" masquerade
\t}}
"
    )
}

/// The tables inside, by name.
#[must_use]
pub fn overlay_tables(rules: &OverlayRules) -> [(&'static str, Table); 2] {
    [(INET, overlay_inet(rules)), (BRIDGE, Table { structure: bridge_rules(), ..Table::default() })]
}

/// From a network only to the link, and only with an address of that network; never from one overlay to another.
/// The namespace itself is reached by pings, and by VXLAN where it comes out of WireGuard; its own VXLAN leaves by no other way
/// (that of plain networks is the host's, not its own).
fn overlay_inet(rules: &OverlayRules) -> Table {
    let vxlan = if rules.wireguard { format!("\t\tiifname \"{WIREGUARD}\" udp dport {INNER_VXLAN_PORT} accept\n") } else { String::new() };
    let mut structure = format!(
        "\tset {EGRESS} {{
\t\ttype ifname;
\t}}
\tchain input {{
\t\ttype filter hook input priority 0; policy drop;
\t\tiifname \"lo\" accept
{vxlan}\t\tmeta l4proto {{ icmp, ipv6-icmp }} accept
\t\tct state established,related accept
\t}}
\tchain forward {{
\t\ttype filter hook forward priority 0; policy drop;
\t\tiifname \"{OVERLAY_LINK}\" oifname @{EGRESS} ct state established,related accept
\t\tiifname @{EGRESS} oifname \"{OVERLAY_LINK}\" fib saddr . iif oif exists accept
\t}}
\tchain output {{
\t\ttype filter hook output priority 0; policy accept;
\t\toifname != \"{WIREGUARD}\" udp dport {INNER_VXLAN_PORT} drop
\t}}
"
    );
    if let Some(link) = &rules.link {
        let (v4, v6) = (link.overlay_v4.addr(), link.overlay_v6.addr());
        let _ = write!(
            structure,
            "\tchain postrouting {{
\t\ttype nat hook postrouting priority 100; policy accept;
\t\toifname \"{OVERLAY_LINK}\" meta nfproto ipv4 snat ip to {v4}
\t\toifname \"{OVERLAY_LINK}\" meta nfproto ipv6 snat ip6 to {v6}
\t}}
"
        );
    }
    let egress = rules.egress.iter().map(|bridge| format!("\"{bridge}\"")).collect();
    Table { structure, sets: [(EGRESS, egress)].into() }
}

/// The gateway is on every host with one address: its frames must not leave for other hosts, nor come from them.
fn bridge_rules() -> String {
    let mut text = String::from("\tchain output {\n\t\ttype filter hook output priority 0; policy accept;\n");
    for ports in [ANY_VXLAN, ANY_TAP] {
        let _ = writeln!(text, "\t\toifname \"{ports}\" ether saddr {GATEWAY_MAC} drop");
    }
    text.push_str("\t}\n\tchain prerouting {\n\t\ttype filter hook prerouting priority -300; policy accept;\n");
    for ports in [ANY_VXLAN, ANY_TAP] {
        let _ = writeln!(text, "\t\tiifname \"{ports}\" ether saddr {GATEWAY_MAC} drop");
        let _ = writeln!(text, "\t\tiifname \"{ports}\" ether daddr {GATEWAY_MAC} drop");
    }
    text.push_str("\t}\n");
    text
}

/// What must be loaded so that `observed` becomes `wanted`; empty where nothing must.
///
/// The whole table where its structure differs, else the elements that do.
#[must_use]
pub fn load_script(name: &str, wanted: &Table, observed: Option<&Table>) -> String {
    let mut script = String::new();
    let same = observed.filter(|observed| observed.structure == wanted.structure);
    if same.is_none() {
        // The first line makes the second one valid where there is no such table.
        let _ = write!(script, "table {name}\ndelete table {name}\ntable {name} {{\n{}}}\n", wanted.structure);
    }
    let none = BTreeSet::new();
    for (set, elements) in &wanted.sets {
        let there = same.and_then(|table| table.sets.get(set)).unwrap_or(&none);
        list(&mut script, "delete", name, set, there.difference(elements));
        list(&mut script, "add", name, set, elements.difference(there));
    }
    script
}

/// What removes a table.
#[must_use]
pub fn remove_script(name: &str) -> String {
    format!("table {name}\ndelete table {name}\n")
}

fn list<'a>(script: &mut String, verb: &str, table: &str, set: &str, elements: impl Iterator<Item = &'a String>) {
    let elements: Vec<&str> = elements.map(String::as_str).collect();
    if !elements.is_empty() {
        let _ = writeln!(script, "{verb} element {table} {set} {{ {} }}", elements.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders(addresses: &[&str]) -> HostRules {
        HostRules { plain: Some((4789, addresses.iter().map(|a| a.parse().unwrap()).collect())), link: None }
    }

    #[test]
    fn a_new_table_is_loaded_whole_with_its_elements() {
        let table = host_table(&senders(&["192.0.2.1", "2001:db8::1"])).unwrap();
        let script = load_script(INET, &table, None);
        assert!(script.starts_with("table inet rcon\ndelete table inet rcon\ntable inet rcon {\n\tset plain_senders_v4 {"), "{script}");
        assert!(script.ends_with(
            "}\nadd element inet rcon plain_senders_v4 { 192.0.2.1 }\nadd element inet rcon plain_senders_v6 { 2001:db8::1 }\n"
        ));
    }

    #[test]
    fn a_node_that_comes_and_one_that_goes_are_two_lines() {
        let before = host_table(&senders(&["192.0.2.1", "192.0.2.2"])).unwrap();
        let after = host_table(&senders(&["192.0.2.2", "192.0.2.3"])).unwrap();
        assert_eq!(
            load_script(INET, &after, Some(&before)),
            "delete element inet rcon plain_senders_v4 { 192.0.2.1 }\nadd element inet rcon plain_senders_v4 { 192.0.2.3 }\n"
        );
        assert_eq!(load_script(INET, &after, Some(&after)), "");
    }

    #[test]
    fn a_damaged_table_is_replaced() {
        let table = host_table(&senders(&["192.0.2.1"])).unwrap();
        assert!(load_script(INET, &table, Some(&Table::default())).contains("delete table inet rcon"));
    }

    #[test]
    fn a_host_without_plain_networks_leaves_the_port_to_others() {
        let rules = HostRules { plain: None, link: Some(LinkAddresses::candidate(0)) };
        assert!(!host_table(&rules).unwrap().structure.contains("4789"));
        assert!(host_table(&HostRules::default()).is_none());
    }
}
