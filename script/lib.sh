# shellcheck shell=bash
# What the scripts here share: steps with progress, and failures that say what to do.
#
# Sourced by setup, build, demo, test and bare-check, after `set -euo pipefail`. Sets `root`
# (the tree) and `cache` (downloads and logs, ignored by git).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for those who source this
cache=$root/.cache
log=$cache/log.txt

say() { printf '%s\n' "$*" >&2; }

# fail WHAT FIX: ends the script, saying which step failed and what to do.
fail() {
  say ""
  say "failed: $1"
  say "fix:    $2"
  exit 1
}

# step TITLE FIX COMMAND...: runs a command without input, its output going to the log. On a terminal the
# last line of output is shown while it runs. If it fails, shows the end of the log and the fix.
step() {
  local title=$1 fix=$2 began=$SECONDS status=0 line
  shift 2
  mkdir -p "$cache"
  printf '\n==== %s: %s\n' "$title" "$*" >>"$log"
  if [ -t 2 ]; then
    local width
    width=$(tput cols 2>/dev/null || echo 80)
    "$@" </dev/null 2>&1 | while IFS= read -r line; do
      printf '%s\n' "$line" >>"$log"
      line="  $title: ${line//[^[:print:]]/ }"
      printf '\r\033[K%s' "${line:0:$((width - 1))}" >&2
    done || status=$?
    printf '\r\033[K' >&2
  else
    "$@" </dev/null >>"$log" 2>&1 || status=$?
  fi
  if [ "$status" -ne 0 ]; then
    say "  $title: failed (status $status); the end of $log:"
    tail -n 30 "$log" | sed 's/^/    /' >&2
    fail "$title" "$fix"
  fi
  say "  $title: done ($((SECONDS - began)) s)"
}
