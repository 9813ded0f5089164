#!/usr/bin/env bash
# A real Slurm cluster on this one machine, for tests and trials, from Debian's packages slurm-wlm and munge (root only).
#
#   tests/cluster/one_host_cluster.sh start DIR [CPUS]   starts munged, slurmctld and slurmd below DIR, waits until a job
#                                                        could run, and prints what to export
#   tests/cluster/one_host_cluster.sh restart DIR        kill -9 of the controller, then a new one on the same state
#   tests/cluster/one_host_cluster.sh stop DIR           ends all three
#
# It touches nothing outside DIR, uses ports of its own and needs no entry in /etc: the variables it prints (SLURM_CONF)
# are all that clients need. Exit code 77: not possible here, with the reason on stderr.
set -euo pipefail

die() { printf 'one_host_cluster: %s\n' "$*" >&2; exit 1; }
skip() { printf 'one_host_cluster: %s\n' "$*" >&2; exit 77; }

[ $# -ge 2 ] || die "usage: one_host_cluster.sh start|restart|stop DIR [CPUS]"
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
export SLURM_CONF=$dir/slurm.conf

end_process() {  # NAME: by the id it wrote when it started
  local file=$dir/$1.pid pid
  [ -s "$file" ] || return 0
  pid=$(cat "$file")
  kill "${2:--TERM}" "$pid" 2> /dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2> /dev/null || break
    sleep 0.05
  done
  kill -KILL "$pid" 2> /dev/null || true
  rm -f "$file"
}

start_controller() {
  slurmctld -D -f "$SLURM_CONF" >> "$dir/slurmctld.out" 2>&1 &
  echo $! > "$dir/slurmctld.pid"
}

wait_until_ready() {
  for _ in $(seq 300); do
    if sinfo -h -o %T 2> /dev/null | grep -qE '^(idle|mixed|allocated)'; then return 0; fi
    kill -0 "$(cat "$dir/slurmctld.pid")" 2> /dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir"/*.out "$dir"/*.log >&2 || true
  end_process slurmd
  end_process slurmctld
  end_process munged
  skip "the cluster did not come up; its logs are above"
}

case $command in
  start)
    [ "$(id -u)" -eq 0 ] || skip "need root for munged and slurmd"
    for program in munged slurmctld slurmd sbatch; do
      command -v "$program" > /dev/null || skip "$program is not installed; apt-get install slurm-wlm munge"
    done
    cpus=${3:-$(nproc)}
    host=$(hostname -s)
    port=$((20000 + RANDOM % 20000))
    mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
    chmod 755 "$dir" 2> /dev/null || true
    # munge: a key and a socket of its own. It refuses files that others could write.
    dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 2> /dev/null
    chmod 400 "$dir/munge/key"
    munged --foreground --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
      --seed-file="$dir/munge/seed" --log-file="$dir/munge/log" > "$dir/munged.out" 2>&1 &
    echo $! > "$dir/munged.pid"
    cat > "$SLURM_CONF" << CONF
ClusterName=aqlmexp
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.own.pid
SlurmdPidFile=$dir/slurmd.own.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
MaxArraySize=${AQLM_EXP_MAX_ARRAY:-1001}
MinJobAge=900
KillWait=5
InactiveLimit=0
SlurmctldTimeout=300
SlurmdTimeout=300
SlurmdParameters=config_overrides
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    start_controller
    slurmd -D -f "$SLURM_CONF" -N "$host" > "$dir/slurmd.out" 2>&1 &
    echo $! > "$dir/slurmd.pid"
    wait_until_ready
    echo "export SLURM_CONF=$SLURM_CONF"
    ;;
  restart)
    end_process slurmctld -KILL
    start_controller
    wait_until_ready
    ;;
  stop)
    if [ -s "$dir/slurmctld.pid" ] && kill -0 "$(cat "$dir/slurmctld.pid")" 2> /dev/null; then
      timeout 10 scancel --user=root 2> /dev/null || true
    fi
    end_process slurmd
    end_process slurmctld
    end_process munged
    ;;
  *) die "unknown command $command" ;;
esac
