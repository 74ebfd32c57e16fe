#!/bin/sh
# Runs a command of caddy-oauth1 while the service is stopped, as the service runs: as its user, and
# with the credentials that systemd would hand to it. See the manual, docs/install.md:
#
#     caddy-oauth1-offline oauth1 store adopt --config /etc/caddy-oauth1/Caddyfile
set -eu
# Without systemd, as in a rescue system, no service runs.
if [ -d /run/systemd/system ]; then
	# One that fails to start is "activating": systemd is about to start it again.
	state=$(systemctl show --property=ActiveState --value caddy-oauth1.service)
	case $state in
	inactive | failed) ;;
	*)
		echo "caddy-oauth1-offline: the service is $state: systemctl stop caddy-oauth1" >&2
		exit 1
		;;
	esac
fi
# The credentials are seen by this command alone, in memory that is never swapped.
exec unshare --mount --propagation private -- /bin/sh -eu -c '
	umask 077
	seen=/run/credentials/caddy-oauth1.service
	mkdir -p -m 0755 /run/credentials "$seen"
	mount -t ramfs -o mode=0700 ramfs "$seen"
	# Regular files alone, and those in subfolders with a _ for each /, but none whose name begins with
	# a dot: as systemd takes them.
	cd /etc/caddy-oauth1/credentials
	find . -mindepth 1 -name ".*" -prune -o -type f -print | while IFS= read -r file; do
		name=$(printf %s "${file#./}" | tr / _)
		install -m 0400 -o caddy-oauth1 "$file" "$seen/oauth1_$name"
	done
	cd /
	chown caddy-oauth1 "$seen"
	exec setpriv --reuid=caddy-oauth1 --regid=caddy-oauth1 --init-groups --no-new-privs \
		--inh-caps=-all --bounding-set=-all env -i \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM-dumb}" LANG="${LANG-C.UTF-8}" \
		HOME=/var/lib/caddy-oauth1 XDG_DATA_HOME=/var/lib/caddy-oauth1 \
		XDG_CONFIG_HOME=/var/lib/caddy-oauth1/config \
		/usr/bin/caddy-oauth1 "$@"
' caddy-oauth1-offline "$@"
