#!/usr/bin/env bash
# Installs the real servers that the tests talk to, where that can be done without asking: as root or by sudo
# without a password, with apt-get.  Otherwise it says what will be left out.
set -u
declare -A packages=(
    [nginx]=nginx-light [apache2]=apache2 [haproxy]=haproxy [stunnel4]=stunnel4 [squid]=squid
    [tinyproxy]=tinyproxy [danted]=dante-server [microsocks]=microsocks [dnsmasq]=dnsmasq-base
    [unbound]=unbound [caddy]=caddy [nghttpd]=nghttp2-server [openssl]=openssl
    [sshd]=openssh-server [ssh]=openssh-client
)
PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"
missing=()
for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || missing+=("${packages[$program]}")
done
# dante asks the system for its users; this library lets it ask the tests' own files.
nss_wrapper() { ls /usr/lib/*/libnss_wrapper.so >/dev/null 2>&1; }
nss_wrapper || missing+=(libnss-wrapper)
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then as_root=(sudo -n); else as_root=(false); fi
fi
if command -v apt-get >/dev/null && [ "${as_root[*]:-}" != false ]; then
    export DEBIAN_FRONTEND=noninteractive
    # The packages start their services when they are installed; the tests start servers of their own.
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null && "${as_root[@]}" chmod +x $policy && made_policy=1
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    [ -n "$made_policy" ] && "${as_root[@]}" rm -f $policy
fi
left_out=()
for program in "${!packages[@]}"; do
    command -v "$program" >/dev/null || left_out+=("$program (Debian package ${packages[$program]})")
done
nss_wrapper || left_out+=("libnss_wrapper.so (Debian package libnss-wrapper)")
if [ ${#left_out[@]} -gt 0 ]; then
    echo "These servers are not installed, so the tests that need them are left out:"
    printf '  %s\n' "${left_out[@]}"
    echo "They can be installed with apt-get by root, or by a user with sudo."
    [ -n "${CI:-}" ] && exit 1
fi
exit 0
