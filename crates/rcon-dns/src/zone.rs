//! Names as they are looked up: a snapshot's networks compiled to tables, and what one container sees of them. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rcon_netplan::dns::{DnsContainer, DnsNetwork, DnsSnapshot};

/// A network's names, ready to be looked up; shared by all containers on it.
#[derive(Debug)]
pub struct Zone {
    name: String,
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
}

/// What one container may ask for.
#[derive(Debug, Default)]
pub struct View {
    zones: Vec<Arc<Zone>>,
    search: Vec<String>,
    /// Who is asked for every other name, in this order; none on an internal network.
    pub upstreams: Vec<SocketAddr>,
}

impl Zone {
    /// Compiles a network.
    #[must_use]
    pub fn new(network: &DnsNetwork) -> Self {
        let mut zone = Self { name: normal(&network.name), addresses: HashMap::new(), names: HashMap::new() };
        for host in &network.hosts {
            for name in &host.names {
                let known = zone.addresses.entry(normal(name)).or_default();
                for address in &host.addresses {
                    if !known.contains(address) {
                        known.push(*address);
                    }
                }
            }
            let Some(first) = host.names.first() else { continue };
            for address in &host.addresses {
                zone.names.entry(*address).or_insert_with(|| format!("{}.{}", normal(first), zone.name));
            }
        }
        zone
    }
}

impl View {
    /// What `container` sees; `zones` are the compiled networks of the same snapshot.
    #[must_use]
    pub fn new(snapshot: &DnsSnapshot, container: &DnsContainer, zones: &BTreeMap<String, Arc<Zone>>) -> Self {
        Self {
            zones: container.networks.iter().filter_map(|key| zones.get(key)).map(Arc::clone).collect(),
            search: container.search.iter().map(|domain| normal(domain)).filter(|domain| !domain.is_empty()).collect(),
            upstreams: snapshot.upstreams_of(container).to_vec(),
        }
    }

    /// The addresses of a name, of both families: as it is, without its network's name, or without a search domain, which a
    /// resolver in the container may have put behind it. `None` for a name that is none of ours; empty for one without addresses.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let name = normal(name);
        self.plain(&name).or_else(|| self.search.iter().find_map(|domain| self.plain(below(&name, domain)?)))
    }

    fn plain(&self, name: &str) -> Option<&[IpAddr]> {
        let here = |zone: &Zone, name: &str| zone.addresses.contains_key(name);
        self.zones
            .iter()
            .find(|zone| here(zone, name))
            .map(|zone| &zone.addresses[name])
            .or_else(|| self.zones.iter().find_map(|zone| zone.addresses.get(below(name, &zone.name)?)))
            .map(Vec::as_slice)
    }

    /// The name of an address, as `web.backend`. `None` for an address that is none of ours.
    #[must_use]
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.zones.iter().find_map(|zone| zone.names.get(&address)).map(String::as_str)
    }
}

/// Lower case, without the dot at the end: names are compared so (RFC 4343 §3).
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// `web` for `web.backend` below `backend`.
fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    name.strip_suffix(domain)?.strip_suffix('.').filter(|rest| !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcon_netplan::dns::DnsHost;

    fn host(names: &[&str], addresses: &[&str]) -> DnsHost {
        DnsHost {
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    fn view(networks: &[&str]) -> View {
        let table = [
            (
                "a",
                DnsNetwork {
                    name: "front".to_owned(),
                    hosts: vec![
                        host(&["web", "www", "0123456789ab"], &["10.0.0.2", "fd00::2"]),
                        host(&["api-1", "api"], &["10.0.0.3"]),
                        host(&["api-2", "api"], &["10.0.0.4"]),
                        host(&["My_App-1.2"], &["10.0.0.5"]),
                    ],
                },
            ),
            ("b", DnsNetwork { name: "back.end".to_owned(), hosts: vec![host(&["web"], &["10.0.1.2"]), host(&["db"], &["10.0.1.3"])] }),
        ];
        let snapshot = DnsSnapshot::default();
        let zones = table.iter().map(|(key, network)| ((*key).to_owned(), Arc::new(Zone::new(network)))).collect();
        let container = DnsContainer {
            namespace: "".into(),
            networks: networks.iter().map(|n| (*n).to_owned()).collect(),
            search: vec!["Corp.Example.".to_owned(), String::new()],
            upstreams: None,
        };
        View::new(&snapshot, &container, &zones)
    }

    fn found(view: &View, name: &str) -> Option<Vec<String>> {
        view.addresses(name).map(|addresses| addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_are_found_in_the_ways_people_write_them() {
        let view = view(&["a", "b"]);
        let web = Some(vec!["10.0.0.2".to_owned(), "fd00::2".to_owned()]);
        for name in ["web", "WEB", "web.", "www", "0123456789ab", "web.front", "Web.Front.", "web.corp.example", "web.front.corp.example."]
        {
            assert_eq!(found(&view, name), web, "{name}");
        }
        assert_eq!(found(&view, "my_app-1.2"), Some(vec!["10.0.0.5".to_owned()]));
        assert_eq!(found(&view, "web.back.end"), Some(vec!["10.0.1.2".to_owned()]));
        assert_eq!(found(&view, "api").unwrap().len(), 2, "a name of several hosts");
    }

    #[test]
    fn other_names_are_none_of_ours() {
        let view = view(&["a", "b"]);
        for name in ["", ".", "we", "web2", "front", ".front", "web.example", "corp.example", ".corp.example", "web.frontx", "webfront"] {
            assert_eq!(found(&view, name), None, "{name}");
        }
    }

    #[test]
    fn a_container_sees_its_own_networks_alone_and_the_first_one_counts() {
        assert_eq!(found(&view(&["a"]), "db"), None);
        assert_eq!(found(&view(&["b"]), "www"), None);
        assert_eq!(found(&view(&["b", "a"]), "web"), Some(vec!["10.0.1.2".to_owned()]));
        assert_eq!(found(&view(&["missing"]), "web"), None);
        assert_eq!(view(&["a"]).name("10.0.1.3".parse().unwrap()), None);
    }

    #[test]
    fn an_address_has_the_first_name_of_its_host() {
        let view = view(&["a", "b"]);
        assert_eq!(view.name("fd00::2".parse().unwrap()), Some("web.front"));
        assert_eq!(view.name("10.0.1.3".parse().unwrap()), Some("db.back.end"));
        assert_eq!(view.name("10.9.9.9".parse().unwrap()), None);
    }
}
