# What the machine starts by itself when the power comes (see `service` in init).
rekindle run --config /etc/rekindle.toml --state-dir /data/state --log-format human \
    2>&1 </dev/null | cat >/dev/ttyS0
