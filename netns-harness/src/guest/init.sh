#!/bin/sh
# PID 1 of a guest: mounts what a test needs, runs the order that the host has left in ORDER, and says how it ended. The
# root is the host's, read only; what is written goes to memory and is gone with the guest.
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin
# Processes are dear here: one for all mounts.
mount -a -T "$ORDER/mounts"
# What the host has below /run and /tmp is hidden now, and still to be seen below /run/host.
mkdir /run/netns /run/host
mount -o bind / /run/host
mount -t tmpfs tmpfs /tmp
while read -r directory; do
    mkdir -p "$directory"
    mount -o bind "/run/host$directory" "$directory"
done <"/run/host$ORDER/seen"
# What udev would have linked: /dev/stdin and its like.
cp -P /run/host/dev/fd /run/host/dev/std* /dev/
ip link set lo up
# With one processor who receives is late now and then: nothing is lost for that.
echo 16777216 >/proc/sys/net/core/rmem_default
# Lines end as the program has ended them.
stty -opost
sh "/run/host$ORDER/command"
printf '\n%s %s\n' "$TOKEN" $?
echo o >/proc/sysrq-trigger
# The kernel is gone before this ends.
sleep 60
