#!/bin/sh
# Installs the binaries of /opt/rcon-bin (or $1) and the unit on a Debian 12 host, and starts the agent. Run as root; safe to repeat.
set -eu
from=${1:-/opt/rcon-bin}
here=$(dirname "$(readlink -f "$0")")
[ -d "$here/../opt" ] || here=${RCON_DEPLOY:-$here}
[ -f "$here/rcond.service" ] || here=/opt/rcon-deploy

command -v nft >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends nftables; }
install -m 0755 "$from/rcond" "$from/rcon-shim" "$from/rconctl" /usr/local/bin/
install -d -m 0755 /etc/rcond
[ -e /etc/rcond/rcond.toml ] || install -m 0644 "$here/rcond.toml" /etc/rcond/rcond.toml
install -m 0644 "$here/rcond.service" /etc/systemd/system/rcond.service
systemctl daemon-reload
systemctl enable --now rcond
