#!/bin/sh
# After a removal. The state is kept, unless Debian's package is purged. Credentials and backups are
# kept even then: a backup can't be read without its key.
set -e
if [ "$1" = purge ]; then
	# Each may be a link to a folder on another disk, or a disk of its own: what is in it goes.
	for folder in /var/lib/caddy-oauth1 /var/log/caddy-oauth1; do
		if [ ! -e "$folder" ] && [ ! -L "$folder" ]; then continue; fi
		find -H "$folder" -mindepth 1 -delete || echo "caddy-oauth1: not all of $folder could be removed" >&2
		if [ -L "$folder" ]; then
			rm "$folder"
		else
			rmdir "$folder" || echo "caddy-oauth1: the folder $folder stays" >&2
		fi
	done
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
