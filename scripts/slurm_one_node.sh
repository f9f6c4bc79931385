#!/usr/bin/env bash
# A Slurm of one node on this machine, for tests: a real controller and a real node, as root, without systemd.
#
#   scripts/slurm_one_node.sh up [--accounting]    starts it, installing Debian's packages if need be
#   scripts/slurm_one_node.sh node                 starts the node's daemon again, after it was killed
#   scripts/slurm_one_node.sh down                 ends it
#   eval "$(scripts/slurm_one_node.sh env)"        lets squeue, sbatch, ... find it
#
# All of it lies in $NCRUN_SLURM (/tmp/ncrun-slurm), its own munge socket and database included; nothing in /etc is
# changed. Daemons listen on this machine's loopback address only.
set -euo pipefail

state=$(realpath -m "${NCRUN_SLURM:-/tmp/ncrun-slurm}")
base=${NCRUN_SLURM_PORT:-26817}  # and the next three
export SLURM_CONF=$state/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

# Tries a command for some seconds.
until_true() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then echo "slurm_one_node: gave up: $*" >&2; return 1; fi
        sleep 0.2
    done
}

install_packages() {
    local wanted=(slurmctld slurmd slurm-client munge)
    if [[ $1 == yes ]]; then wanted+=(slurmdbd mariadb-server); fi
    if ! dpkg --status "${wanted[@]}" >/dev/null 2>&1; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
    fi
}

start_munge() {
    install -d -m 0700 "$state/munge"
    [[ -s $state/munge/key ]] || (umask 077; head -c 1024 /dev/urandom >"$state/munge/key")
    munged --force --key-file="$state/munge/key" --socket="$state/munge/socket" --pid-file="$state/munge/pid" \
        --log-file="$state/munge/log" --seed-file="$state/munge/seed" 2>"$state/munge/said"
}

start_database() {
    local sql=(mariadb --socket="$state/sql/socket" --user=root)
    install -d "$state/sql/data"
    chown -R mysql: "$state/sql"
    [[ -d $state/sql/data/mysql ]] || mariadb-install-db --user=mysql --datadir="$state/sql/data" \
        --auth-root-authentication-method=socket >"$state/sql/install" 2>&1
    setsid mariadbd --no-defaults --user=mysql --datadir="$state/sql/data" --socket="$state/sql/socket" \
        --pid-file="$state/sql/pid" --bind-address=127.0.0.1 --port=$((base + 3)) \
        --innodb-buffer-pool-size=64M >"$state/sql/log" 2>&1 &
    until_true 30 "${sql[@]}" -e "select 1"
    "${sql[@]}" -e "create database if not exists accounting; create user if not exists slurm@localhost identified by
        'slurm'; grant all on accounting.* to slurm@localhost"
    cat >"$state/slurmdbd.conf" <<END
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((base + 2))
SlurmUser=root
PidFile=$state/slurmdbd.pid
LogFile=$state/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((base + 3))
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounting
END
    chmod 600 "$state/slurmdbd.conf"
    slurmdbd  # it looks for its configuration beside slurm.conf
}

write_configuration() {
    local accounting="AccountingStorageType=accounting_storage/none"
    if [[ $1 == yes ]]; then
        accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((base + 2))
AccountingStoragePass=$state/munge/socket
JobAcctGatherType=jobacct_gather/linux"
    fi
    local host megabytes
    host=$(hostname -s)
    megabytes=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
    cat >"$SLURM_CONF" <<END
ClusterName=ncrun
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmdPort=$((base + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,defer
ReturnToService=2
SlurmdTimeout=15
KillWait=5
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/node
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
$accounting
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$megabytes State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
}

node_is_ready() { [[ $(sinfo --noheader --format=%t) =~ ^(idle|mix|alloc)$ ]]; }

up() {
    local accounting=no
    if [[ ${1:-} == --accounting ]]; then accounting=yes; fi
    if [[ $(id -u) != 0 ]]; then echo "slurm_one_node: has to be root" >&2; exit 1; fi
    install_packages $accounting
    install -d "$state" "$state/controller" "$state/node"
    write_configuration $accounting
    start_munge
    if [[ $accounting == yes ]]; then
        start_database
        until_true 30 sacctmgr --noheader show cluster
        sacctmgr --immediate add cluster ncrun >/dev/null 2>&1 || true
    fi
    slurmctld
    slurmd
    until_true 60 node_is_ready
    timeout 30 srun --ntasks=1 true
    sinfo
}

down() {
    local file
    for file in "$state"/slurmd.pid "$state"/slurmctld.pid "$state"/slurmdbd.pid "$state"/sql/pid "$state"/munge/pid; do
        [[ -s $file ]] || continue
        local pid
        pid=$(<"$file")
        kill "$pid" 2>/dev/null || true
        until_true 20 bash -c "! kill -0 $pid" || kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$state"
}

case ${1:-} in
    up) up "${2:-}" ;;
    node) slurmd; until_true 60 node_is_ready ;;
    down) down ;;
    env) echo "export SLURM_CONF=$SLURM_CONF" ;;
    *) sed -n '2,9p' "$0"; exit 2 ;;
esac
