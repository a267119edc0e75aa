#!/usr/bin/env bash
# usage: run_where_possible.sh SECONDS ENVIRONMENT COMMAND...
# Makes an environment (a target of the Makefile) and runs a command in it, each within SECONDS. Where the environment cannot be had, or the
# time is over, it says so and ends well; where the command fails, it fails.
set -uo pipefail
limit_s=$1 environment=$2
shift 2
timeout "$limit_s" "${MAKE:-make}" --no-print-directory "$environment" ||
  { echo "skipped, because $environment could not be made here within $limit_s s (see above): $*" && exit 0; }
timeout --kill-after=30 "$limit_s" "$@"
code=$?
if [ "$code" = 124 ] || [ "$code" = 137 ]; then
  echo "skipped, because it was not done within $limit_s s: $*"
  exit 0
fi
exit "$code"
