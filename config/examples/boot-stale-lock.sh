#!/bin/sh
# A boot hook that clears what a gateway leaves behind when it has no time to clear it itself.
#
# Rekindle starts nothing before all that an earlier run left is dead, so that on the same host a
# lock without a word of goodbye is stale. Not so after `moved`: the other host may still be up,
# and its gateway may hold a lock that both see. After a stop (`clean`, `reboot`) the gateway has
# cleared up itself; if its lock is still there, that is worth a look.
set -eu

lock="${GATEWAY_LOCK:-/sandbox/gateway.lock}"

case "${REKINDLE_START}" in
    power_cycle | crash)
        if [ -e "${lock}" ]; then
            echo "boot hook: clearing ${lock}, stale after ${REKINDLE_START} (down for ${REKINDLE_OUTAGE_SECONDS} s)"
            rm -f -- "${lock}"
        fi
        ;;
esac
