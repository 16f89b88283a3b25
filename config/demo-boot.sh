#!/bin/sh
# The demo's boot hook: says why it runs, and hands one variable to the gateway.
set -eu

echo "boot hook: attempt ${REKINDLE_ATTEMPT} of ${REKINDLE_SERVICE}, because: ${REKINDLE_REASON}"
case "${REKINDLE_START}" in
    none) ;;
    power_cycle | crash) echo "boot hook: the last run ended badly (${REKINDLE_START})" ;;
    *) echo "boot hook: this start is a ${REKINDLE_START} one" ;;
esac

echo "DEMO_BOOTED_FOR=${REKINDLE_REASON}" >>"${REKINDLE_ENV}"
