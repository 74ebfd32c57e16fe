#!/bin/sh
# Before a removal. Debian's packages are called with "remove" then, and RPM's with 0; an upgrade
# leaves the service running until the new program is there.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now caddy-oauth1.service
	fi
	;;
esac
