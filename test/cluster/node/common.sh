# What the scripts here share: where things are, and how they are said. To be sourced.
# shellcheck shell=bash
dir=${CLUSTER_DIR:-/var/lib/one-node-cluster}
bin=$dir/bin run=$dir/run kubelet_dir=${KUBELET_DIR:-/var/lib/kubelet}
export PATH=$bin:$PATH
# Where Go's own archive goes, which not every PATH has.
command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
# Mounts at and below directories (a regular expression), the last one first.
mounts_below() { cut -d' ' -f5 /proc/self/mountinfo | { grep -E "^($1)(/|\$)" || true; } | sort -ru; }
need_root() { [ "$(id -u)" = 0 ] || fail "needs root"; }

# The cluster has a mount namespace of its own, held by a process. What it mounts is in nobody else's then: a program that
# makes a mount namespace gets a copy of all mounts of the one that it comes from, and keeps the loop devices below them busy.
# `/` is shared in it, as systemd makes that of a node, and all mounts are gone with the last process.
command_of() { { tr '\0' ' ' <"/proc/${1:-none}/cmdline"; } 2>/dev/null; }
is_holder() { [ "$(command_of "${1:-}")" = 'one-node-cluster infinity ' ]; }
begin_namespace() {
  local holder
  holder=$(cat "$run/namespace.pid" 2>/dev/null) || true
  ! is_holder "$holder" || return 0
  # Of tests that run now: their mounts are not to be kept by us.
  local begin='mount --make-rshared / && grep -o " /[^ ]*/idmap-[^ ]*" /proc/self/mountinfo | sort -ru | xargs -r umount -l 2>/dev/null
    exec -a one-node-cluster sleep infinity'
  (
    close_inherited
    exec setsid unshare --mount --propagation slave bash -c "$begin" >/dev/null 2>&1 </dev/null
  ) &
  holder=$!
  echo $holder >"$run/namespace.pid"
  for _ in $(seq 100); do is_holder $holder && return; sleep 0.1; done
  fail "no mount namespace could be made"
}
# enter_namespace "$@": the script goes on in it, where there is one.
enter_namespace() {
  local holder
  holder=$(cat "$run/namespace.pid" 2>/dev/null) || return 0
  is_holder "$holder" && [ "$(readlink /proc/self/ns/mnt)" != "$(readlink "/proc/$holder/ns/mnt")" ] || return 0
  exec nsenter --mount="/proc/$holder/ns/mnt" -- sh -c 'cd "$1" && shift && exec "$@"' sh "$PWD" "$here/${0##*/}" "$@"
}

# start_ NAME COMMAND...: in a session of its own, output in $run/logs. Kept, so that it can be started again (restart).
start_() {
  local name=$1
  shift
  printf '#!/usr/bin/env bash\ncd %q && exec' "$run" >"$run/$name.sh"
  printf ' %q' "$@" >>"$run/$name.sh"
  echo >>"$run/$name.sh"
  spawn_ "$name"
}
spawn_() {
  (
    close_inherited
    PATH=$bin:$PATH exec setsid bash "$run/$1.sh" >>"$run/logs/$1.log" 2>&1 </dev/null
  ) &
  echo $! >"$run/$1.pid"
}
# A lock that the caller holds by a descriptor is not to be held for as long as the cluster is up.
close_inherited() {
  local path
  for path in "/proc/$BASHPID/fd/"*; do
    [ "${path##*/}" -le 2 ] || eval "exec ${path##*/}>&-"
  done
}
# stop_ NAME [SIGNAL]: and wait for its end, five seconds at most.
stop_() {
  [ -f "$run/$1.pid" ] || return 0
  local pid
  pid=$(cat "$run/$1.pid")
  kill "-${2:-TERM}" "$pid" 2>/dev/null
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null
  rm -f "$run/$1.pid"
}
# wait_for NAME COMMAND...: until it succeeds, two minutes at most.
wait_for() {
  local name=$1
  shift
  for _ in $(seq 240); do "$@" >/dev/null 2>&1 && return; sleep 0.5; done
  tail -5 "$run/logs/$name.log" >&2
  fail "$name did not come up; its log is $run/logs/$name.log"
}
