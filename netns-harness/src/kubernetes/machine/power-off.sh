#!/bin/sh
# What a machine loses when its power goes: processes, mounts, /run, links, routes, rules, connections. Disks stay, and so does
# eth0, which the wire of the lab is.
kill -9 -1
# Each pass takes the mounts upon mounts.
for pass in 1 2 3; do
    awk '$2 ~ "^/(run/.|var/lib/kubelet/.)" {print $2}' /proc/mounts | sort -r | while read -r mount; do
        umount -l "$mount" 2>/dev/null
    done
done
rm -rf /run/* /tmp/.??* 2>/dev/null
mkdir -p /run/netns /run/lock

nft flush ruleset
ip -o link | awk -F'[ :@]+' '$2 != "lo" && $2 != "eth0" {print $2}' | while read -r link; do
    ip link delete "$link" 2>/dev/null
done
ip nexthop flush >/dev/null 2>&1
for family in -4 -6; do
    # The kernel's own and the way to the switch are what the machine's own network configuration brings back.
    ip $family route show table all | grep -v -e '^default via .* dev eth0' -e 'proto kernel' -e 'table local' |
        while read -r route; do
            # shellcheck disable=SC2086 # words of a route
            ip $family route delete $route 2>/dev/null
        done
    ip $family rule show | awk -F: '$1 != 0 && $1 != 32766 && $1 != 32767 {print $1}' | while read -r priority; do
        ip $family rule delete priority "$priority"
    done
done
ip neigh flush all 2>/dev/null
conntrack -F >/dev/null 2>&1
exit 0
