#!/usr/bin/env bash
# Installs the real servers and programs that the tests talk to, where that can be done without
# asking: as root, or by sudo without a password, with apt-get.  What this release of the system
# does not have, or what may not be installed, is named with the tests that it costs; the rest is
# installed all the same.  In CI it fails if something is missing that nothing stands in for.
set -u
PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"

# What must be there | Debian's package | the tests that need it | what stands in for it
# What must be there is a program, or the path of a file, which may be a pattern.
needs() {
    cat <<'END'
nginx|nginx-light|tests of the client, of bodies, of connections and of HTTP/2 that ask nginx|
apache2|apache2|tests of Digest and of HTTP/2 that ask Apache httpd|
haproxy|haproxy|tests of HTTP/2 and of proxies over TLS that ask haproxy|
stunnel4|stunnel4|tests of proxies over TLS that ask stunnel|
squid|squid|tests of proxies that ask squid|
/usr/lib/squid/digest_file_auth|squid|tests of Digest to a proxy|
tinyproxy|tinyproxy|tests of proxies that ask tinyproxy|
microsocks|microsocks|tests of SOCKS5 proxies|
danted|dante-server|none|microsocks and ssh
/usr/lib/*/libnss_wrapper.so|libnss-wrapper|none|microsocks and ssh
dnsmasq|dnsmasq-base|tests of name servers that ask dnsmasq|
unbound|unbound|tests of DNS over HTTPS and of name servers that ask unbound|
caddy|caddy|tests of HTTP/2 that ask caddy|
nghttpd|nghttp2-server|tests of HTTP/2 that ask nghttpd|
openssl|openssl|tests of TLS that ask openssl|
sshd|openssh-server|tests of SOCKS4 and SOCKS4a proxies|
ssh|openssh-client|tests of SOCKS4 and SOCKS4a proxies|
redis-server|redis-server|tests of the cache that keep responses in Redis|
curl|curl|tests of the curl commands that wherry prints|
wget|wget|tests of the command line that download what wget downloads|
aria2c|aria2|tests of the command line that download what aria2c downloads|
http|httpie|tests of the command line that send what httpie sends|
END
}

there() {
    case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The packages of what is not there, each once.
missing_packages() {
    needs | while IFS='|' read -r what package _; do there "$what" || echo "$package"; done | sort -u
}

mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
why=
if ! command -v apt-get >/dev/null; then
    why="This system has no apt-get: install them in its own way."
elif [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
        as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)
    else
        why="You are not root, and sudo asks for a password: let root install them with apt-get."
    fi
fi

install() {
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# One package that a release lacks must cost its own tests and no others.
install_what_there_is() {
    local package known=()
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq </dev/null ||
        echo "The lists of packages could not be brought up to date."
    for package in "${missing[@]}"; do
        # Only a package that can be installed has versions here.
        [ -n "$(apt-cache madison "$package" 2>/dev/null)" ] && known+=("$package")
    done
    [ ${#known[@]} -eq 0 ] && return
    install "${known[@]}" && return
    echo "They cannot be installed together; one after the other then."
    for package in "${known[@]}"; do
        install "$package" || echo "apt-get could not install $package."
    done
}

if [ -z "$why" ]; then
    # The packages start their services when they are installed; the tests start servers of their own.
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null &&
            "${as_root[@]}" chmod +x $policy && made_policy=1
    fi
    install_what_there_is
    [ -n "$made_policy" ] && "${as_root[@]}" rm -f $policy
    why="This release of the system does not have them, or apt-get failed as it says above."
fi

left_out=()
replaced=()
while IFS='|' read -r what package tests instead; do
    there "$what" && continue
    if [ -n "$instead" ]; then
        replaced+=("$what (Debian's package $package): $instead stand in for it")
    else
        left_out+=("$what (Debian's package $package): $tests")
    fi
done < <(needs)

if [ ${#replaced[@]} -gt 0 ]; then
    echo "Not there, and no test is left out for that:"
    printf '  %s\n' "${replaced[@]}"
fi
if [ ${#left_out[@]} -gt 0 ]; then
    echo "Not there, so these tests are left out:"
    printf '  %s\n' "${left_out[@]}"
    echo "$why"
    [ -n "${CI:-}" ] && exit 1
fi
exit 0
