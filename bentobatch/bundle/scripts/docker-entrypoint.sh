#!/bin/sh
# What a container of this bundle does. Its arguments:
#
#   (none), or options         bentobatch serve-gunicorn, with those options
#   serve                      the same, as SageMaker starts it: on port 8080
#   run API OPTIONS            bentobatch run, and so for info and open-api-spec
#   healthcheck                whether the server here answers
#   any other command          that command
#
# The port: BENTOBATCH_PORT, else PORT, else Vertex AI's AIP_HTTP_PORT, else 5000. The server can be reached from outside of
# the container, so it asks for the token in BENTOBATCH_TOKEN; BENTOBATCH_NO_AUTH=1 lets everybody in, where something in
# front of it decides who comes (SageMaker and Vertex AI do).
set -eu
bundle=${BENTOBATCH_BUNDLE:-$(cd "$(dirname -- "$0")" && pwd)}
port=${BENTOBATCH_PORT:-${PORT:-${AIP_HTTP_PORT:-5000}}}

case "${1:-}" in
'' | -*) set -- serve-gunicorn "$@" ;;
serve)
    shift
    port=${BENTOBATCH_PORT:-${SAGEMAKER_BIND_TO_PORT:-8080}}
    set -- serve-gunicorn "$@"
    ;;
esac

command=$1
case "$command" in
serve-gunicorn)
    shift
    if [ "${BENTOBATCH_NO_AUTH:-}" = 1 ]; then
        set -- --no-auth "$@"
    elif [ -z "${BENTOBATCH_TOKEN:-}" ]; then
        echo "docker-entrypoint.sh: set BENTOBATCH_TOKEN to the token that clients send, or BENTOBATCH_NO_AUTH=1" >&2
        exit 2
    fi
    exec bentobatch serve-gunicorn "$bundle" --host 0.0.0.0 --port "$port" "$@"
    ;;
run | info | open-api-spec)
    shift
    exec bentobatch "$command" "$bundle" "$@"
    ;;
healthcheck)
    exec python -c 'import sys, urllib.request as r; r.urlopen("http://127.0.0.1:" + sys.argv[1] + "/livez", timeout=4)' "$port"
    ;;
*)
    exec "$@"
    ;;
esac
