//! Somebody else's firewall that drops what overlays need: found in the text of `nft list ruleset`, and named.
//!
//! Rules are not evaluated. A chain counts as an obstacle when it drops what nothing in its table accepts by name: our link's
//! name for forwarded packets, the port for incoming ones.

use crate::names::HOST_LINK;

/// What a chain drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// What containers send out, and the answers.
    Forwarded,
    /// What other nodes send to a UDP port.
    Incoming {
        /// The port.
        port: u16,
    },
}

/// A chain that drops what we need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Family and name of its table, e.g. `ip filter`.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// What it drops.
    pub dropped: Dropped,
    /// How to mend it.
    pub hint: String,
}

impl Obstacle {
    /// In words.
    #[must_use]
    pub fn message(&self) -> String {
        let (table, chain) = (&self.table, &self.chain);
        match self.dropped {
            Dropped::Forwarded => format!(
                "another firewall drops forwarded packets (chain `{chain}` of table `{table}`): containers cannot reach the outside"
            ),
            Dropped::Incoming { port } => {
                format!(
                    "another firewall drops incoming packets (chain `{chain}` of table `{table}`) and names no port {port}/udp: other nodes may not reach this one"
                )
            }
        }
    }
}

/// The obstacles in `ruleset`, where the UDP ports in `ports` must be reachable and packets of the link forwarded if `forwards`.
#[must_use]
pub fn obstacles(ruleset: &str, forwards: bool, ports: &[u16]) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for table in parse(ruleset).into_iter().filter(|table| !table.is_ours()) {
        for chain in table.chains.iter().filter(|chain| chain.drops()) {
            let obstacle = |dropped, hint| Obstacle { table: table.name.clone(), chain: chain.name.clone(), dropped, hint };
            match chain.hook.as_deref() {
                Some("forward") if forwards && !table.accepts(|word| word.trim_matches('"') == HOST_LINK) => {
                    found.push(obstacle(Dropped::Forwarded, table.forward_hint()));
                }
                Some("input") => {
                    let closed =
                        ports.iter().filter(|port| !table.accepts(|word| word.trim_matches(|c| "{},".contains(c)) == port.to_string()));
                    found.extend(closed.map(|port| obstacle(Dropped::Incoming { port: *port }, table.input_hint(*port))));
                }
                _ => {}
            }
        }
    }
    found
}

#[derive(Debug, Default)]
struct Table {
    name: String,
    chains: Vec<Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    name: String,
    hook: Option<String>,
    policy_drop: bool,
    rules: Vec<String>,
}

impl Chain {
    /// Whether what no rule decided is dropped.
    fn drops(&self) -> bool {
        let last = self.rules.last().map(|rule| rule.split(" packets ").next().unwrap_or(rule));
        let refuses = |rule: &str| rule == "drop" || rule == "reject" || rule.starts_with("reject with") || rule == "counter drop";
        self.policy_drop || last.is_some_and(refuses)
    }
}

impl Table {
    fn is_ours(&self) -> bool {
        matches!(self.name.as_str(), "inet rcon" | "bridge rcon")
    }

    fn accepts(&self, names: impl Fn(&str) -> bool) -> bool {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        rules.into_iter().any(|rule| rule.split_whitespace().any(|word| word == "accept") && rule.split_whitespace().any(&names))
    }

    fn has_chain(&self, start: &str) -> bool {
        self.chains.iter().any(|chain| chain.name.starts_with(start))
    }

    fn iptables(&self) -> &'static str {
        if self.name.starts_with("ip6 ") { "ip6tables" } else { "iptables" }
    }

    fn forward_hint(&self) -> String {
        let iptables = self.iptables();
        if self.has_chain("DOCKER-USER") {
            return format!(
                "Docker's: `{iptables} -I DOCKER-USER -i {HOST_LINK} -j ACCEPT; {iptables} -I DOCKER-USER -o {HOST_LINK} -j ACCEPT`"
            );
        }
        if self.has_chain("ufw") {
            return format!("ufw's: `ufw route allow in on {HOST_LINK}; ufw route allow out on {HOST_LINK}`");
        }
        if self.name.ends_with(" firewalld") {
            return format!("firewalld's: `firewall-cmd --permanent --zone=trusted --add-interface={HOST_LINK} && firewall-cmd --reload`");
        }
        format!("accept in that chain what comes from and goes to the interface {HOST_LINK}")
    }

    fn input_hint(&self, port: u16) -> String {
        if self.has_chain("ufw") {
            return format!("ufw's: `ufw allow {port}/udp`");
        }
        if self.name.ends_with(" firewalld") {
            return format!("firewalld's: `firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload`");
        }
        format!("accept UDP port {port} of the other nodes in that chain")
    }
}

fn parse(ruleset: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for line in ruleset.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(head) = line.strip_suffix('{').map(str::trim) {
            match head.split_once(' ') {
                Some(("table", name)) => tables.push(Table { name: name.to_owned(), ..Table::default() }),
                Some(("chain", name)) if open.len() == 1 => {
                    if let Some(table) = tables.last_mut() {
                        table.chains.push(Chain { name: name.to_owned(), ..Chain::default() });
                    }
                }
                _ => {}
            }
            open.push(head);
        } else if line == "}" {
            open.pop();
        } else if open.last().is_some_and(|head| head.starts_with("chain "))
            && let Some(chain) = tables.last_mut().and_then(|table| table.chains.last_mut())
        {
            read_line(chain, line);
        }
    }
    tables
}

fn read_line(chain: &mut Chain, line: &str) {
    if let Some(kind) = line.strip_prefix("type ") {
        let words: Vec<&str> = kind.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        let after = |word: &str| words.iter().position(|found| *found == word).and_then(|at| words.get(at + 1)).copied();
        chain.hook = after("hook").filter(|_| words.first() == Some(&"filter")).map(str::to_owned);
        chain.policy_drop = after("policy") == Some("drop");
    } else if !line.is_empty() {
        chain.rules.push(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter {
\tchain DOCKER-USER {
\t\tcounter packets 0 bytes 0 return
\t}
\tchain FORWARD {
\t\ttype filter hook forward priority filter; policy drop;
\t\tcounter packets 0 bytes 0 jump DOCKER-USER
\t\toifname \"docker0\" ct state related,established counter packets 0 bytes 0 accept
\t}
}
";

    fn table(found: &[Obstacle]) -> Vec<(String, Dropped)> {
        found.iter().map(|obstacle| (format!("{} {}", obstacle.table, obstacle.chain), obstacle.dropped)).collect()
    }

    #[test]
    fn a_docker_that_drops_forwarded_packets_is_named() {
        let found = obstacles(DOCKER, true, &[4789]);
        assert_eq!(table(&found), [("ip filter FORWARD".to_owned(), Dropped::Forwarded)]);
        assert!(found[0].hint.contains("iptables -I DOCKER-USER -i rcon-link -j ACCEPT"), "{}", found[0].hint);
        assert!(obstacles(DOCKER, false, &[]).is_empty(), "nobody leaves, nobody cares");
    }

    #[test]
    fn what_is_accepted_by_name_is_no_obstacle() {
        let mended = DOCKER.replace("\t\tcounter packets 0 bytes 0 return", "\t\tiifname \"rcon-link\" counter packets 1 bytes 84 accept");
        assert!(obstacles(&mended, true, &[]).is_empty());
    }

    #[test]
    fn a_strict_host_firewall_is_named_for_each_port_it_does_not_name() {
        let strict = "table inet filter {
\tset office {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.1,
\t\t\t     192.0.2.2 }
\t}
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\tct state established,related accept
\t\tudp dport { 53, 4789 } accept
\t\treject with icmpx admin-prohibited
\t}
}
";
        assert_eq!(table(&obstacles(strict, true, &[4789, 51820])), [("inet filter input".to_owned(), Dropped::Incoming { port: 51820 })]);
    }

    #[test]
    fn our_own_tables_are_no_obstacle() {
        let own = "table inet rcon {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        assert!(obstacles(own, true, &[4789]).is_empty());
    }
}
