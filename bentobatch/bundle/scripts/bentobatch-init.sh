#!/bin/sh
# Makes the environment that this bundle runs in, step by step; the Dockerfile does so, and so may you, on any machine:
#
#   BENTOBATCH_ENVIRONMENT=/some/folder sh bentobatch-init.sh python packages
#
# setup      runs setup.sh, where the bundle has one
# python     makes a virtual environment of the Python that saved the bundle
# conda      makes it by conda instead, of environment.yml
# packages   installs requirements.txt, and what the server needs, with the options of EXTRA_PIP_INSTALL_ARGS, in the versions
#            of the file CONSTRAINTS, where it is set: constraints.txt has those that the bundle was saved with
# libraries  installs OpenMP where LightGBM or XGBoost would not find it (Debian and Ubuntu)
# user       makes the user UID of the group GID
set -eu
cd "$(dirname -- "$0")"
prefix=${BENTOBATCH_ENVIRONMENT:-/opt/bentobatch}
etc=${BENTOBATCH_ETC:-/etc}

fail() {
    printf '%s\n' "bentobatch-init.sh: $1" >&2
    exit 1
}

step_setup() {
    [ -f setup.sh ] || return 0
    case "$(head -c 2 setup.sh)" in
    '#!') chmod +x setup.sh && ./setup.sh ;;
    *) sh ./setup.sh ;;
    esac
}

step_python() {
    wanted=$(cut -d. -f1,2 python_version)
    for python in "python$wanted" python3 python; do
        found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        [ "$found" = "$wanted" ] || continue
        "$python" -m venv "$prefix"
        return
    done
    fail "there is no Python $wanted, which saved this bundle: take a docker_base_image that has it"
}

step_conda() {
    command -v conda >/dev/null || fail "the bundle asks for conda packages, and there is no conda: take a docker_base_image that has it"
    conda env create --quiet --prefix "$prefix" --file environment.yml
    conda clean --all --yes --quiet
}

step_packages() {
    # shellcheck disable=SC2086 # several options in one variable
    set -- -m pip install --no-cache-dir --disable-pip-version-check ${EXTRA_PIP_INSTALL_ARGS:-}
    if grep -q -e '--hash' requirements.txt; then # pip wants a hash of everything then; the server's part has none
        "$prefix/bin/python" "$@" -r requirements.txt
        grep -v '^-' requirements-server.txt >"$prefix/server.txt"
        "$prefix/bin/python" "$@" --find-links bundled_pip_dependencies -r "$prefix/server.txt"
    else
        [ -z "${CONSTRAINTS:-}" ] || set -- "$@" --constraint "$CONSTRAINTS"
        "$prefix/bin/python" "$@" -r requirements-server.txt
    fi
}

step_libraries() {
    grep -Eqi '^(lightgbm|xgboost)' requirements.txt || return 0
    "$prefix/bin/python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null && return 0
    command -v apt-get >/dev/null || fail "libgomp.so.1 (OpenMP) is missing: install it in setup.sh"
    apt-get update
    apt-get install --no-install-recommends -y libgomp1
    rm -rf /var/lib/apt/lists/*
}

step_user() {
    case "${UID_OF_BENTO:?}:${GID_OF_BENTO:?}" in
    *[!0-9:]*) fail "UID and GID are numbers" ;;
    0* | *:0*) fail "the server does not run as root: take another UID and GID" ;;
    esac
    # not by useradd, which some images lack
    cut -d: -f3 "$etc/group" | grep -qx "$GID_OF_BENTO" || echo "bentobatch:x:$GID_OF_BENTO:" >>"$etc/group"
    cut -d: -f3 "$etc/passwd" | grep -qx "$UID_OF_BENTO" ||
        echo "bentobatch:x:$UID_OF_BENTO:$GID_OF_BENTO:bentobatch:/tmp:/bin/sh" >>"$etc/passwd"
}

for step in "$@"; do
    case "$step" in
    setup | python | conda | packages | libraries | user) "step_$step" ;;
    *) fail "there is no step $step" ;;
    esac
done
