#!/bin/sh
# Stands in for systemctl in a node: as much as kubeadm asks of it. A service NAME is a shell script /etc/lab/NAME; it is
# started again a second after it ended, and its log is /var/log/NAME.log. The rest is not systemd.
verb='' unit=''
for word; do
    case $word in
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else unit=${word%.service}; fi ;;
    esac
done

script=/etc/lab/$unit
pidfile=/run/$unit.service.pid

runs() { [ -s "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; }

start() {
    runs && return
    setsid "$0" supervise "$unit" </dev/null >>"/var/log/$unit.log" 2>&1 &
    echo $! >"$pidfile"
}

stop() {
    runs || return
    supervisor=$(cat "$pidfile")
    kill -TERM "$supervisor"
    tries=0
    while kill -0 "$supervisor" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -gt 200 ] && kill -KILL "-$supervisor"
        sleep 0.05
    done
    rm -f "$pidfile"
}

# Ends when it is told to, and its child first.
supervise() {
    child=''
    trap '[ -n "$child" ] && kill -TERM "$child" && wait "$child"; exit 0' TERM
    while :; do
        sh "$script" &
        child=$!
        wait "$child"
        child=''
        sleep 1
    done
}

case $verb in daemon-reload | reset-failed) exit 0 ;; esac
if [ ! -e "$script" ]; then
    echo "Unit $unit.service could not be found."
    case $verb in status) exit 4 ;; is-active) exit 3 ;; is-enabled) exit 1 ;; *) exit 5 ;; esac
fi
case $verb in
start) start ;;
stop) stop ;;
restart) stop; start ;;
enable | disable) ;;
is-enabled) echo enabled ;;
is-active) if runs; then echo active; else echo inactive; exit 3; fi ;;
status)
    printf '* %s.service\n   Loaded: loaded\n' "$unit"
    runs || exit 3
    ;;
supervise) supervise ;;
*) exit 1 ;;
esac
