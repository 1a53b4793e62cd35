#!/bin/sh
# PID 1 of a node, in the node's network namespace and in mount, process, UTS and IPC namespaces of its own. It gives the
# node a root of its own and waits. In the environment: NAME, HERE (the node's directory on disk), LAB (the lab's), PROGRAMS,
# CGROUP (the node's, below the hierarchies' root).
#
# The root is the machine's with a tmpfs over it, so that all that kubeadm, the kubelet and daemons write (/etc/kubernetes,
# /etc/cni/net.d, /opt/cni/bin, /var/lib) stays in the node. An overlay cannot carry the overlays of containers, and its
# upper directory must not lie below its lower one: what needs a disk is bound from HERE.
set -eu
hostname "$NAME"

mkdir -p "$HERE/own" "$HERE/sysctl" "$HERE/disk/containerd" "$HERE/disk/kubelet" "$HERE/disk/etcd" "$HERE/log"
mount -t tmpfs -o size=1g,mode=755 tmpfs "$HERE/own"
mkdir "$HERE/own/upper" "$HERE/own/work" "$HERE/own/node"
node=$HERE/own/node
mount -t overlay -o "lowerdir=/,upperdir=$HERE/own/upper,workdir=$HERE/own/work" overlay "$node"

mkdir -p "$node/proc" "$node/sys" "$node/dev" "$node/run" "$node/old" "$node/lib/modules"
mount -t proc proc "$node/proc"
mount -t sysfs sysfs "$node/sys"
mount --rbind /sys/fs/cgroup "$node/sys/fs/cgroup"
mount --rbind /dev "$node/dev"
mount -t tmpfs -o mode=755 tmpfs "$node/run"
mkdir -p "$node/run/netns" "$node/run/lock"
for shared in "$LAB" "$PROGRAMS"; do
    mkdir -p "$node$shared"
    mount --bind "$shared" "$node$shared"
done

# What the machine itself may have of a container runtime, a pod network or a Kubernetes is not the node's.
for state in etc/cni etc/kubernetes opt/cni var/lib/cni var/lib/containerd var/lib/kubelet var/lib/etcd var/log; do
    rm -rf "${node:?}/$state"
    mkdir -p "$node/$state"
done
for disk in containerd kubelet etcd; do
    mount --bind "$HERE/disk/$disk" "$node/var/lib/$disk"
done
chmod 700 "$HERE/disk/etcd"
mount --bind "$HERE/log" "$node/var/log"
mkdir -p "$HERE/log/pods" "$HERE/log/containers" "$node/etc/cni/net.d" "$node/etc/default" "$node/etc/lab"
cp -a /usr/lib/cni "$node/opt/cni/bin"

# A tree of cgroups of its own: two kubelets would meet in /kubepods, and what is left over must be known by its name.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$CGROUP"
else
    for hierarchy in /sys/fs/cgroup/*/; do
        path=$hierarchy
        for step in "${CGROUP%/*}" "${CGROUP##*/}"; do
            path=$path$step/
            mkdir -p "$path"
            # An empty set of processors or memory takes no process (cgroup-v1/cpusets.rst, 2.1).
            if [ -e "$hierarchy/cpuset.cpus" ]; then
                cat "$hierarchy/cpuset.cpus" >"$path/cpuset.cpus"
                cat "$hierarchy/cpuset.mems" >"$path/cpuset.mems"
            fi
        done
    done
fi

# Nobody answers there: a resolver must not find the machine's own, nor CoreDNS itself.
rm -f "$node/etc/resolv.conf"
printf 'nameserver 192.0.2.1\n' >"$node/etc/resolv.conf"
printf '127.0.0.1 localhost\n%s\n' "$HOSTS" >"$node/etc/hosts"
for name in kubeadm kubelet kubectl kube-proxy; do
    ln -sf "$PROGRAMS/$name" "$node/usr/local/bin/$name"
done
install -m 755 "$HERE/systemctl" "$node/usr/local/bin/systemctl"

# The kubelet insists on writing these, and they are the whole machine's: it writes plain files instead.
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    file=$HERE/sysctl/$(echo "$setting" | tr / .)
    cat "/proc/sys/$setting" >"$file"
    mount --bind "$file" "$node/proc/sys/$setting"
done

cd "$node"
pivot_root . old
cd /
umount -l /old
rmdir /old
# As systemd leaves it, and as mounts with propagation (Bidirectional) need it.
mount --make-rshared /
echo "$NAME is up"
# It reaps, and what ends everybody else (`kill -9 -1`, a reboot) does not end it.
exec "$PROGRAMS/podtool"
