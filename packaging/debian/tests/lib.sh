# shellcheck shell=sh
# A simulated zone on loopback, with one configuration for each of the two nodes a and b.

work=${AUTOPKGTEST_TMP:-$(mktemp -d)}
url=http://127.0.0.1:18181
eip=127.0.0.100

say() { echo "$0: $*"; }

# usage: until_so SECONDS DESCRIPTION COMMAND...
until_so() {
  left=$(($1 * 10)) what=$2
  shift 2
  until "$@"; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then
      say "not so in time: $what"
      exoip-sandbox state --url "$url" || true
      exit 1
    fi
    sleep 0.1
  done
  say "so it is: $what"
}

answers() { exoip-sandbox state --url "$url" >/dev/null 2>&1; }
held_by() { [ "$(exoip-sandbox state --url "$url" | sed -n "s/^$eip held by //p")" = "$1" ]; }

start_zone() {
  exoip-sandbox zone --listen 127.0.0.1:18181 --eip "$eip" --instances a=127.0.0.11,b=127.0.0.12 --group g >"$work/zone.log" &
  zone=$!
  trap 'kill "$zone"; wait' EXIT
  until_so 10 "the zone answers" answers
}

# usage: configure NAME PRIORITY ADDRESS
configure() {
  cat >"/etc/exoip/test-$1.conf" <<EOF
address = $eip
exoscale-peer-group = g
exoscale-api-key = EXO$1
exoscale-api-secret = sandbox-$1
exoscale-api-endpoint = $url/v2
exoscale-zone = ch-gva-2
exoscale-metadata-url = $url/metadata/$1
host-priority = $2
bind-address = $3:12345
EOF
  chown root:exoip "/etc/exoip/test-$1.conf"
  chmod 0640 "/etc/exoip/test-$1.conf"
}
