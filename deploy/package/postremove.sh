#!/bin/sh
# After a removal. The state is kept, unless Debian's package is purged. Credentials and backups are
# kept even then: a backup can't be read without its key.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/lib/caddy-oauth1 /var/log/caddy-oauth1
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
