#!/bin/sh
# The last hand on a base root, run outside of it with its path as $1: which units start, and nothing
# left of the machine that built it. Called by mmdebstrap, which stops daemons from starting in there.
set -eu
root=$1

chroot "$root" systemctl --quiet enable \
    systemd-networkd.service systemd-networkd-wait-online.service systemd-resolved.service \
    chrony.service ssh.service kiln-hostkeys.service
chroot "$root" systemctl --quiet set-default multi-user.target
# What a package database was yesterday nobody asks an instance; LVM snapshots to scrub do not exist; kiln-hostkeys.service
# makes the one host key that sshd is told to use, where Debian 13's own unit would make every kind.
chroot "$root" systemctl --quiet mask sshd-keygen.service \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service

cd "$root"
# Secrets and identities that packages made while they were installed.
rm -f etc/ssh/ssh_host_* var/lib/systemd/random-seed var/lib/dbus/machine-id
# Empty, not absent: absent means "first boot", and systemd would preset every unit again.
: > etc/machine-id
chmod 0444 etc/machine-id
# Without a name of its own the instance takes the one that DHCP gives.
rm -f etc/hostname
ln -sfn ../run/systemd/resolve/stub-resolv.conf etc/resolv.conf
# Logs, caches and second copies. apt makes its folders anew, with the owner that suits it then.
find var/log -type f -delete
rm -rf var/lib/apt/lists/* var/cache/apt/* var/cache/ldconfig/* var/cache/debconf/*-old var/lib/dpkg/*-old
rm -f initrd.img.old vmlinuz.old etc/.pwd.lock etc/passwd- etc/group- etc/shadow- etc/gshadow- etc/subuid- etc/subgid-
