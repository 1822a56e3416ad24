#!/bin/bash
# Makes the captures beside this script from the real kernel and from wireguard-go. Needs root, iproute2, ethtool, tcpdump,
# python3, wireguard-go and wg; works in namespaces that it makes and removes. Run it again only to replace the captures.
#
#   tcp4-whole, tcp6-whole, udp-whole     super-frames as a container sends them: one IP packet of many segments
#   tcp4-cut, tcp6-cut, udp-cut           the same frames after the kernel has segmented them for a device without offloads
#   vxlan-inner, vxlan-outer              frames on a bridge and what the kernel's VXLAN device made of them (no UDP checksum)
#   vxlan-sum-inner, vxlan-sum-outer      the same with UDP checksums
#   wireguard-inner, wireguard-outer      packets on wireguard-go's device and its messages on the wire
set -euo pipefail
cd "$(dirname "$0")"
prefix=rcgold$$
namespaces="$prefix-a $prefix-m $prefix-b"
cleanup() {
    jobs -p | xargs -r kill 2>/dev/null || true
    for ns in $namespaces; do ip netns del "$ns" 2>/dev/null || true; done
}
trap cleanup EXIT
for ns in $namespaces; do
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    nsenter --net="/run/netns/$ns" sh -c 'echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode'
done
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$prefix-$ns" -- "$@"; }

# a (10.0.0.1) -- m: bridge -- b (10.0.0.2); the port towards b has no offloads, so the kernel cuts there.
ip -n "$prefix-a" link add eth0 type veth peer name a0 netns "$prefix-m"
ip -n "$prefix-b" link add eth0 type veth peer name b0 netns "$prefix-m"
ip -n "$prefix-m" link add br0 type bridge mcast_snooping 0
in_ns m sh -c 'echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables; echo 0 > /proc/sys/net/bridge/bridge-nf-call-ip6tables'
for port in a0 b0; do ip -n "$prefix-m" link set "$port" master br0 up; done
ip -n "$prefix-m" link set br0 up
in_ns m ethtool -K b0 tso off tx-udp-segmentation off gso off tx-checksumming off > /dev/null
in_ns b ethtool -K eth0 gro off > /dev/null
for side in a:1 b:2; do
    ns=${side%:*}; n=${side#*:}
    ip -n "$prefix-$ns" addr add "10.0.0.$n/24" dev eth0
    ip -n "$prefix-$ns" addr add "fd00::$n/64" dev eth0 nodad
    ip -n "$prefix-$ns" link set eth0 address "02:42:0a:00:00:0$n" up
done

# capture FILE NAMESPACE DEVICE FILTER...: runs until `stop`.
capture() {
    local file=$1 ns=$2 device=$3; shift 3
    # Started without a shell in between, so that `stop` ends tcpdump itself.
    nsenter --net="/run/netns/$prefix-$ns" -- tcpdump -i "$device" -U --immediate-mode -s 0 -Z root -w "$file.pcap" "$@" 2> /dev/null &
    until [ -s "$file.pcap" ]; do read -rt 0.05 <> <(:) || true; done
}
stop() { read -rt 0.5 <> <(:) || true; kill -TERM $(jobs -p) 2> /dev/null || true; wait || true; }
rm -f ./*.pcap

tcp='
import socket, sys
family, address = (socket.AF_INET6, "fd00::2") if sys.argv[2] == "6" else (socket.AF_INET, "10.0.0.2")
s = socket.socket(family)
if sys.argv[1] == "listen":
    s.bind((address, 7000)); s.listen()
    c, _ = s.accept()
    while c.recv(65536): pass
else:
    s.connect((address, 7000))
    s.sendall(bytes(range(251)) * 48 + b"end")
'
for version in 4 6; do
    capture "tcp$version-whole" a eth0 "src port not 7000 and tcp"
    capture "tcp$version-cut" b eth0 "src port not 7000 and tcp"
    in_ns b python3 -c "$tcp" listen $version & listener=$!
    read -rt 0.5 <> <(:) || true
    in_ns a python3 -c "$tcp" send $version
    wait $listener
    stop
done

capture udp-whole a eth0 udp
capture udp-cut b eth0 udp
in_ns a python3 -c '
import socket
for family, address in ((socket.AF_INET, "10.0.0.2"), (socket.AF_INET6, "fd00::2")):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(17, 103, 500)  # UDP_SEGMENT
    s.sendto(bytes(range(251)) * 9, (address, 7000))
'
stop

# The kernel as VXLAN peer: m and b as two tunnel ends over their veth.
ip -n "$prefix-m" link set b0 nomaster
ip -n "$prefix-m" addr add 100.96.0.1/24 dev b0
ip -n "$prefix-b" addr flush dev eth0
ip -n "$prefix-b" addr add 100.96.0.2/24 dev eth0
for checksums in noudpcsum udpcsum; do
    name=vxlan; [ $checksums = udpcsum ] && name=vxlan-sum
    for side in m:1:2:b0 b:2:1:eth0; do
        IFS=: read -r ns here there device <<< "$side"
        ip -n "$prefix-$ns" link add vx0 type vxlan id 4096 local "100.96.0.$here" remote "100.96.0.$there" dstport 4789 $checksums
        ip -n "$prefix-$ns" link set vx0 address "02:42:0a:00:01:0$here" up
        ip -n "$prefix-$ns" addr add "10.0.1.$here/24" dev vx0
        ip -n "$prefix-$ns" addr add "fd01::$here/64" dev vx0 nodad
    done
    capture "$name-inner" m vx0 outbound
    capture "$name-outer" m b0 outbound and udp port 4789
    in_ns m ping -q -c2 -i0.1 -s 301 10.0.1.2 > /dev/null
    in_ns m ping -q -c2 -i0.1 -s 17 fd01::2 > /dev/null
    in_ns m python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"datagram", ("10.0.1.2", 7000))'
    stop
    ip -n "$prefix-m" link del vx0
    ip -n "$prefix-b" link del vx0
done

# wireguard-go on both ends; its configuration socket has a fixed place, so each gets a mount namespace of its own.
for ns in m b; do
    unshare -m -- sh -c "mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && exec nsenter --net=/run/netns/$prefix-$ns wireguard-go -f wg0" \
        > /dev/null 2>&1 &
    declare "pid_$ns=$!"
done
key_m=$(wg genkey); key_b=$(wg genkey)
configure() { # PID KEY PEER-KEY PEER-ADDRESS HERE
    until nsenter -t "$1" -m test -S /run/wireguard/wg0.sock; do read -rt 0.05 <> <(:) || true; done
    nsenter -t "$1" -m -n wg set wg0 private-key <(echo "$2") listen-port 51820 \
        peer "$(wg pubkey <<< "$3")" endpoint "$4:51820" allowed-ips 0.0.0.0/0
    nsenter -t "$1" -n ip addr add "10.0.2.$5/24" dev wg0
    nsenter -t "$1" -n ip link set wg0 mtu 1420 up
}
configure "$pid_m" "$key_m" "$key_b" 100.96.0.2 1
configure "$pid_b" "$key_b" "$key_m" 100.96.0.1 2
nsenter --net=/run/netns/$prefix-m -- tcpdump -i wg0 -U --immediate-mode -s 0 -Z root -w wireguard-inner.pcap outbound and icmp 2> /dev/null & first=$!
nsenter --net=/run/netns/$prefix-m -- tcpdump -i b0 -U --immediate-mode -s 0 -Z root -w wireguard-outer.pcap outbound and udp port 51820 2> /dev/null & second=$!
until [ -s wireguard-inner.pcap ] && [ -s wireguard-outer.pcap ]; do read -rt 0.05 <> <(:) || true; done
for size in 0 1 15 16 100 1380 1384 1391 1392; do in_ns m ping -q -c1 -s $size -M do 10.0.2.2 > /dev/null; done
read -rt 0.5 <> <(:) || true
kill -TERM $first $second; wait $first $second || true
ls -l ./*.pcap
