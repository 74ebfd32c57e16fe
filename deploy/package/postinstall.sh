#!/bin/sh
# After an installation and after an upgrade, of both kinds of packages.
set -e
systemd-sysusers caddy-oauth1.conf
systemd-tmpfiles --create caddy-oauth1.conf
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# After an upgrade the new program takes over. A service that does not run stays as it is.
	systemctl try-restart caddy-oauth1.service ||
		echo "caddy-oauth1 did not start again: see systemctl status caddy-oauth1" >&2
fi
