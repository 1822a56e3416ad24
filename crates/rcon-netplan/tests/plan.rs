//! Tables of what is wanted and what is there, with the steps between them as text.
#![allow(missing_docs)]

use rcon_netplan::{
    EncryptedBackend, HostFacts, HostNetwork, KernelState, LinkAddresses, LocalEndpoint, Namespace, OverlayNetwork, OverlaySubnet,
    RemoteEndpoint, RemoteHost, Wanted,
    kernel::{LinkKind, NamespaceState},
    plan,
};
use rcon_types::{ContainerId, EndpointId, MacAddr, Mtu, NetworkId, NodeId, Vni};

const CONTAINER: ContainerId = ContainerId::from_bytes([0xab; 32]);

fn network_id(number: u8) -> NetworkId {
    NetworkId::from_bytes([number; 16])
}

/// One IPv4 network with a container here and one on node h2.
fn one_network(encrypted: bool) -> HostNetwork {
    let local = LocalEndpoint {
        container: CONTAINER,
        interface: "eth0".into(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        mac: "02:42:0a:00:00:02".parse().unwrap(),
        default_route: true,
    };
    let network = OverlayNetwork {
        name: "backend".into(),
        vni: Vni::FIRST,
        encrypted,
        internal: false,
        mtu: Mtu(1450),
        subnets: vec![OverlaySubnet { prefix: "10.0.0.0/24".parse().unwrap(), gateway: Some("10.0.0.1".parse().unwrap()) }],
        local: [(EndpointId::from_bytes([2; 16]), local)].into(),
        remote: [(EndpointId::from_bytes([3; 16]), remote(2, "10.0.0.3"))].into(),
    };
    let mut desired = HostNetwork { networks: [(network_id(1), network)].into(), ..HostNetwork::default() };
    desired.node.data_address = Some("192.0.2.1".parse().unwrap());
    desired.node.vtep = Some("100.96.0.1".parse().unwrap());
    desired.hosts = [2, 3].map(|number| (NodeId::from_bytes([number; 16]), host(number))).into();
    desired
}

fn host(number: u8) -> RemoteHost {
    RemoteHost {
        name: format!("h{number}"),
        data_address: Some([192, 0, 2, number].into()),
        vtep: Some([100, 96, 0, number].into()),
        wireguard_public_key: Some([number; 32]),
    }
}

fn remote(node: u8, address: &str) -> RemoteEndpoint {
    let address = address.parse().unwrap();
    RemoteEndpoint { node: NodeId::from_bytes([node; 16]), addresses: vec![address], mac: MacAddr::for_ip(address) }
}

fn wanted(desired: &HostNetwork) -> Wanted {
    Wanted::of(desired, &HostFacts { link: LinkAddresses::candidate(0), hears_routers: ["ens3".to_owned()].into() })
}

/// What the kernel has when `desired` was applied.
fn applied(desired: &HostNetwork) -> KernelState {
    wanted(desired).state
}

/// A host with one fresh container, and nothing of ours.
fn bare() -> KernelState {
    let empty = |namespace| (namespace, NamespaceState::default());
    KernelState { namespaces: [Namespace::Host, Namespace::Container(CONTAINER)].map(empty).into() }
}

/// Steps as text, the many settings and the text of the firewall left out.
fn steps(desired: &HostNetwork, observed: &KernelState) -> String {
    let steps = plan(&wanted(desired), observed);
    let lines = steps.iter().map(ToString::to_string).filter(|line| !line.contains(": set net/") && !line.contains(" lines of firewall"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_differs_nothing_is_done() {
    for encrypted in [false, true] {
        let desired = one_network(encrypted);
        assert_eq!(plan(&wanted(&desired), &applied(&desired)), []);
    }
    assert_eq!(plan(&wanted(&HostNetwork::default()), &bare()), []);
}

#[test]
fn a_first_plain_network_is_built_from_nothing() {
    assert_eq!(steps(&one_network(false), &bare()), FIRST_PLAIN.trim());
}

const FIRST_PLAIN: &str = "
overlay: create the namespace
overlay: create rcb4096 as bridge with mtu 1450 and address 0a:42:72:63:6f:6e
overlay: create rcx4096 as vxlan id 4096 local 192.0.2.1 port 4789 on the host with mtu 1450
overlay: create rcl0 as veth to host/rcon-link with mtu 65000
overlay: create rcp04a1ykcf8nmw as veth to abababababab/eth0 with mtu 1450
overlay: add 10.0.0.1/24 to rcb4096
overlay: know 10.0.0.2 at 02:42:0a:00:00:02 on rcb4096
overlay: know 10.0.0.3 at 02:42:0a:00:00:03 on rcb4096
overlay: set rcb4096 up
overlay: make rcx4096 a port of rcb4096 suppressing
overlay: forward 02:42:0a:00:00:03 to rcx4096
overlay: send 00:00:00:00:00:00 from rcx4096 to 192.0.2.2
overlay: send 02:42:0a:00:00:03 from rcx4096 to 192.0.2.2
overlay: set rcx4096 up
abababababab: add 10.0.0.2/24 to eth0
abababababab: set eth0 up
host: add 169.254.213.1/30 to rcon-link
host: set rcon-link up
overlay: add 169.254.213.2/30 to rcl0
overlay: set rcl0 up
overlay: make rcp04a1ykcf8nmw a port of rcb4096 locked
overlay: forward 02:42:0a:00:00:02 to rcp04a1ykcf8nmw
overlay: set rcp04a1ykcf8nmw up
overlay: add route 0.0.0.0/0 via 169.254.213.1 dev rcl0
abababababab: add route 0.0.0.0/0 via 10.0.0.1 dev eth0
abababababab: redirect port 53 of the resolver";

#[test]
fn an_encrypted_network_has_a_tap_and_no_vxlan_device() {
    let text = steps(&one_network(true), &bare());
    assert!(text.contains("create rct4096 as tap with mtu 1450") && !text.contains("vxlan"), "{text}");
}

#[test]
fn with_kernel_wireguard_the_vxlan_device_of_an_encrypted_network_is_born_inside() {
    let mut desired = one_network(true);
    desired.node.backend = EncryptedBackend::Kernel;
    let text = steps(&desired, &bare());
    let (wireguard, vxlan) = (text.find("create rcw0 as wireguard with mtu 1500").unwrap(), text.find("create rcx4096").unwrap());
    assert!(wireguard < vxlan);
    assert!(text.contains("create rcx4096 as vxlan id 4096 local 100.96.0.1 port 4789 inside"), "{text}");
    assert!(text.contains("send 02:42:0a:00:00:03 from rcx4096 to 100.96.0.2 via rcw0"), "{text}");
    assert!(text.contains("add route 100.96.0.0/12 dev rcw0"), "{text}");
    for link in applied(&desired).namespaces.values().flat_map(|state| state.links.values()) {
        assert!(!matches!(link.kind, LinkKind::Vxlan { socket_in_host: true, .. }), "nothing encrypted listens on the underlay");
        assert_eq!(matches!(link.kind, LinkKind::Vxlan { .. }), link.lower() == Some("rcw0"), "and nothing leaves but through WireGuard");
    }
}

#[test]
fn changes_of_the_table_of_endpoints() {
    let before = one_network(false);
    let edit = |change: &dyn Fn(&mut OverlayNetwork)| {
        let mut after = before.clone();
        change(after.networks.get_mut(&network_id(1)).unwrap());
        steps(&after, &applied(&before))
    };
    let third = EndpointId::from_bytes([4; 16]);
    let cases: [(&str, String, &str); 5] = [
        (
            "one more on a host that is known",
            edit(&|network| drop(network.remote.insert(third, remote(2, "10.0.0.4")))),
            "overlay: know 10.0.0.4 at 02:42:0a:00:00:04 on rcb4096
overlay: forward 02:42:0a:00:00:04 to rcx4096
overlay: send 02:42:0a:00:00:04 from rcx4096 to 192.0.2.2",
        ),
        (
            "one more on a new host",
            edit(&|network| drop(network.remote.insert(third, remote(3, "10.0.0.4")))),
            "overlay: know 10.0.0.4 at 02:42:0a:00:00:04 on rcb4096
overlay: forward 02:42:0a:00:00:04 to rcx4096
overlay: send 00:00:00:00:00:00 from rcx4096 to 192.0.2.3
overlay: send 02:42:0a:00:00:04 from rcx4096 to 192.0.2.3",
        ),
        (
            "the last one of a host goes",
            edit(&|network| network.remote.clear()),
            "overlay: forget 10.0.0.3 on rcb4096
overlay: stop sending 00:00:00:00:00:00 from rcx4096 to 192.0.2.2
overlay: stop sending 02:42:0a:00:00:03 from rcx4096 to 192.0.2.2
overlay: stop forwarding 02:42:0a:00:00:03 to rcx4096
overlay: forget the connections of 10.0.0.3",
        ),
        (
            "one moves to another host",
            edit(&|network| network.remote.values_mut().for_each(|endpoint| endpoint.node = NodeId::from_bytes([3; 16]))),
            "overlay: stop sending 00:00:00:00:00:00 from rcx4096 to 192.0.2.2
overlay: stop sending 02:42:0a:00:00:03 from rcx4096 to 192.0.2.2
overlay: send 00:00:00:00:00:00 from rcx4096 to 192.0.2.3
overlay: send 02:42:0a:00:00:03 from rcx4096 to 192.0.2.3",
        ),
        (
            "the local one goes",
            edit(&|network| network.local.clear()),
            "overlay: delete rcp04a1ykcf8nmw
overlay: forget 10.0.0.2 on rcb4096
overlay: forget the connections of 10.0.0.2",
        ),
    ];
    for (name, got, expected) in cases {
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn a_shrinking_mtu_reaches_containers_first_and_a_growing_one_last() {
    let before = one_network(false);
    let with_mtu = |mtu| {
        let mut after = before.clone();
        after.networks.values_mut().for_each(|network| network.mtu = Mtu(mtu));
        let text = steps(&after, &applied(&before));
        text.lines().map(|line| line.split(" of ").nth(1).unwrap()[..3].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(with_mtu(1400), ["eth", "rcp", "rcx", "rcb"]);
    assert_eq!(with_mtu(1460), ["rcb", "rcx", "rcp", "eth"]);
}

#[test]
fn the_last_network_takes_everything_with_it() {
    let text = steps(&HostNetwork::default(), &applied(&one_network(false)));
    assert_eq!(
        text,
        "host: delete rcon-link
overlay: delete rcb4096
overlay: delete rcp04a1ykcf8nmw
overlay: delete rcx4096
overlay: forget the connections of 10.0.0.2 10.0.0.3"
    );
}

#[test]
fn a_container_that_leaves_its_first_network_gets_its_default_route_from_the_next_at_once() {
    let mut both = one_network(false);
    let mut second = both.networks[&network_id(1)].clone();
    second.name = "front".into();
    second.vni = Vni::new(4097).unwrap();
    second.subnets = vec![OverlaySubnet { prefix: "10.0.1.0/24".parse().unwrap(), gateway: Some("10.0.1.1".parse().unwrap()) }];
    second.remote.clear();
    let local = LocalEndpoint {
        interface: "eth1".into(),
        addresses: vec!["10.0.1.2".parse().unwrap()],
        mac: "02:42:0a:00:01:02".parse().unwrap(),
        default_route: false,
        ..second.local[&EndpointId::from_bytes([2; 16])].clone()
    };
    second.local = [(EndpointId::from_bytes([4; 16]), local)].into();
    both.networks.insert(network_id(2), second);
    let mut left = both.clone();
    left.networks.remove(&network_id(1));
    left.networks.get_mut(&network_id(2)).unwrap().local.values_mut().for_each(|endpoint| endpoint.default_route = true);
    let text = steps(&left, &applied(&both));
    assert!(text.contains("abababababab: add route 0.0.0.0/0 via 10.0.1.1 dev eth1"), "{text}");
}

#[test]
fn a_port_whose_other_end_is_gone_is_made_anew() {
    let desired = one_network(false);
    let mut observed = applied(&desired);
    *observed.namespace_mut(Namespace::Container(CONTAINER)) = Default::default();
    let text = steps(&desired, &observed);
    assert!(text.starts_with("overlay: delete rcp04a1ykcf8nmw\noverlay: create rcp04a1ykcf8nmw as veth to abababababab/eth0"), "{text}");
    assert!(text.ends_with("abababababab: redirect port 53 of the resolver"), "{text}");
}

#[test]
fn routers_are_still_heard_once_the_host_forwards() {
    let mut desired = one_network(false);
    let subnet = OverlaySubnet { prefix: "fd00:1::/64".parse().unwrap(), gateway: Some("fd00:1::1".parse().unwrap()) };
    desired.networks.values_mut().for_each(|network| network.subnets.push(subnet));
    let mut observed = bare();
    let settings = [("net/ipv6/conf/ens3/accept_ra", "1"), ("net/ipv6/conf/all/forwarding", "0")];
    observed.namespace_mut(Namespace::Host).sysctls = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let steps: Vec<String> = plan(&wanted(&desired), &observed).iter().map(ToString::to_string).collect();
    let at = |text: &str| steps.iter().position(|step| step == text).unwrap_or_else(|| panic!("no `{text}`"));
    assert!(at("host: set net/ipv6/conf/ens3/accept_ra to 2") < at("host: set net/ipv6/conf/all/forwarding to 1"));
}

#[test]
fn strangers_are_refused_before_the_device_listens() {
    let steps: Vec<String> = plan(&wanted(&one_network(false)), &bare()).iter().map(ToString::to_string).collect();
    let firewall = steps.iter().position(|step| step.starts_with("host: load")).unwrap();
    let device = steps.iter().position(|step| step.starts_with("overlay: create rcx4096")).unwrap();
    assert!(firewall < device);
}

#[test]
fn a_node_without_an_address_still_joins_its_own_containers() {
    let mut desired = one_network(false);
    desired.node.data_address = None;
    let text = steps(&desired, &bare());
    assert!(text.contains("create rcb4096") && !text.contains("vxlan"), "{text}");
}
