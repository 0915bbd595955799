#!/usr/bin/env bash
# Makes a virtual environment with what edgeagent needs. Does nothing where that has been done.
#
#   packaging/setup.sh                   .venv to run edgeagent
#   packaging/setup.sh dev               .venv to run the tests as well
#   packaging/setup.sh dev --packages    the same; as root, missing Debian packages are installed too
#   packaging/setup.sh pocket            .venv-pocket to train the bundled model
#
# PYTHON names the interpreter (default: python3). CMAKE_ARGS is handed on to the build of llama-cpp-python.
set -euo pipefail
cd "$(dirname "$0")/.."

extra=${1:-}
packages=${2:-}
python=${PYTHON:-python3}
venv=.venv
if [ "$extra" = pocket ]; then venv=.venv-pocket; fi

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $1"; say "try: $2"; exit 1; }

fingerprint() {
    "$python" -c 'import sys; print(sys.version, sys.prefix)'
    pwd
    cat pyproject.toml constraints.txt packaging/setup.sh packaging/llama-cpp.cmake \
        packaging/mcp-servers/package-lock.json
}

# What stands in packaging/debian-packages.txt and is not on this machine.
missing_packages() {
    command -v "$python" >/dev/null || printf 'python3\n'
    "$python" -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv\n'
    command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || printf 'g++\n'
    command -v cmake >/dev/null || printf 'cmake\n'
    command -v make >/dev/null || command -v ninja >/dev/null || printf 'make\n'
}

# What the tests need beyond that.
missing_test_packages() {
    command -v dbus-run-session >/dev/null || printf 'dbus\n'
    command -v gnome-keyring-daemon >/dev/null || printf 'gnome-keyring\n'
    PATH=$PATH:/usr/sbin command -v mosquitto >/dev/null || printf 'mosquitto\n'
    command -v mosquitto_pub >/dev/null || printf 'mosquitto-clients\n'
    command -v openssl >/dev/null || printf 'openssl\n'
    command -v pdftotext >/dev/null || printf 'poppler-utils\n'
    /usr/bin/python3 -c 'import PIL' 2>/dev/null || printf 'python3-pil\n'
    command -v systemd-analyze >/dev/null || printf 'systemd\n'
    command -v strace >/dev/null || printf 'strace\n'
}

install_packages() {
    if [ "$packages" = --packages ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        local had_broker
        had_broker=$(PATH=$PATH:/usr/sbin command -v mosquitto || true)
        say "installing: $(xargs < packaging/debian-packages.txt)"
        apt-get update -qq
        xargs env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
            < packaging/debian-packages.txt >&2
        # The package starts a broker of its own; the tests start theirs.
        if [ -z "$had_broker" ]; then systemctl disable --quiet --now mosquitto 2>/dev/null || true; fi
    fi
}

# MCP servers that the tests run and that are written for node, which came with pip.
install_servers() {
    mkdir -p "$venv/mcp-servers"
    cp packaging/mcp-servers/package.json packaging/mcp-servers/package-lock.json "$venv/mcp-servers"
    PATH="$PWD/$venv/bin:$PATH" npm ci --prefix "$venv/mcp-servers" --ignore-scripts --no-audit --no-fund \
        --loglevel error >&2
}

check_python() {
    command -v "$python" >/dev/null || fail "there is no $python on this machine" "sudo apt install python3 python3-venv"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "edgeagent needs Python 3.11 or newer; $python is $("$python" --version 2>&1 || true)" \
            "PYTHON=/path/to/python3.11 make demo"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make a virtual environment" "sudo apt install python3-venv"
}

# llama.cpp is compiled unless pip finds a ready wheel, as it does on Raspberry Pi OS.
check_compiler() {
    local missing
    missing=$(missing_packages | xargs)
    [ -z "$missing" ] && return
    say "looking for a ready wheel of llama-cpp-python, since these are missing to build one: $missing"
    "$venv/bin/pip" install --quiet --only-binary llama-cpp-python -c constraints.txt llama-cpp-python 2>/dev/null ||
        fail "llama-cpp-python must be compiled, and this machine lacks: $missing" "sudo apt install $missing"
}

# A compiler of C++ takes up to a gigabyte each.
jobs() {
    "$python" - <<'PY'
import os
try:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**9
except (OSError, ValueError):
    gigabytes = 1
print(max(1, min(os.cpu_count() or 1, gigabytes)))
PY
}

if [ -n "$(missing_packages)$(missing_test_packages)" ] || [ ! -x /usr/bin/bwrap ]; then install_packages; fi
check_python

stamp="$venv/.ready${extra:+-$extra}"
wanted=$(fingerprint | cksum)
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then exit 0; fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "making $venv"
    "$python" -m venv --clear "$venv"
fi
rm -f "$venv"/.ready*
check_compiler

# One way only to hand options to the build: pip keeps the wheel by its link, whatever the options were.
export CMAKE_ARGS="-DLLAVA_BUILD=OFF '-DCMAKE_PROJECT_llama_cpp_INCLUDE=$PWD/packaging/llama-cpp.cmake' ${CMAKE_ARGS:-}"
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(jobs)}   # make builds one file at a time unless told
export CMAKE_BUILD_PARALLEL_LEVEL
export PIP_BUILD_CONSTRAINT="$PWD/constraints.txt"
export PIP_CONSTRAINT="$PWD/constraints.txt"                       # for the builds of pip before 25.3
export PIP_DISABLE_PIP_VERSION_CHECK=1

say "installing into $venv; the first time on a machine llama.cpp is compiled, which takes minutes"
"$venv/bin/python" -m pip install --quiet -c constraints.txt -e ".${extra:+[$extra]}"
if [ "$extra" = dev ]; then install_servers; fi
printf '%s\n' "$wanted" | tee "$venv/.ready" > "$stamp"
