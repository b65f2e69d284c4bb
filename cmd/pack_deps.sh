#!/usr/bin/env bash
# pack_deps.sh: ./run.sh pack-deps DIR collects the headers and libraries that the build needs from this machine's
# Debian packages into DIR, for a machine where nothing can be installed: there DEPS=DIR ./run.sh ... builds with them.
# DIR/bin/pkg-config answers in place of the real one, relative to itself.
set -euo pipefail
# pkg-config name, Debian package, library names to link in order, what else a static library needs
rows=(
    "jansson libjansson-dev jansson"
    "libpcre2-8 libpcre2-dev pcre2-8"
    "yaml-0.1 libyaml-dev yaml"
    "sqlite3 libsqlite3-dev sqlite3 -lpthread -ldl -lm"
    "zlib zlib1g-dev z"
    "snappy libsnappy-dev snappy -lstdc++"
    "libzstd libzstd-dev zstd"
    "cmocka libcmocka-dev cmocka"
)
limit_mib=40

[ $# = 1 ] || { echo "usage: ./run.sh pack-deps DIR" >&2; exit 2; }
out=$1
command -v dpkg >/dev/null || { echo \
    "pack-deps: there is no dpkg here; it collects from installed Debian packages" >&2; exit 1; }
if [ -e "$out" ] && [ -n "$(ls -A "$out" 2>/dev/null)" ] && [ ! -e "$out/bin/pkg-config" ]; then
    echo "pack-deps: $out is there, is not empty and was not made by pack-deps: give a new folder" >&2
    exit 1
fi
mkdir -p "$out/bin" "$out/lib/packages" "$out/include"
rm -rf "${out:?}/include" "${out:?}/lib"
mkdir -p "$out/include" "$out/lib/packages"

# headers under their path below /usr/include (the multiarch folder is a place of its own there)
headers() { # package
    local f to
    dpkg -L "$1" | grep -E '^/usr/include/.*\.(h|hpp)$' | while read -r f; do
        to=${f#/usr/include/}
        to=${to#"$(gcc -print-multiarch 2>/dev/null)"/}
        mkdir -p "$out/include/$(dirname "$to")"
        cp -L "$f" "$out/include/$to"
    done
}

# the static library; where there is none the shared one under the name it is loaded by. Prints which
library() { # package library
    local a so
    a=$(dpkg -L "$1" | grep -E "/lib$2\.a$" | head -n 1)
    if [ -n "$a" ]; then
        cp -L "$a" "$out/lib/"
        echo static
        return
    fi
    so=$(dpkg -L "$1" | grep -E "/lib$2\.so$" | head -n 1)
    [ -n "$so" ] || return 1
    local loaded
    loaded=$(readelf -d "$so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
    cp -L "$so" "$out/lib/$loaded"
    ln -sf "$loaded" "$out/lib/lib$2.so"
    echo shared
}

left=()
for row in "${rows[@]}"; do
    read -r name package lib more <<<"$row"
    if ! dpkg -s "$package" >/dev/null 2>&1 || ! kind=$(library "$package" "$lib"); then
        left+=("$name ($package is not installed, or has no library)")
        continue
    fi
    headers "$package"
    { echo "-l$lib"; [ "$kind" = shared ] || [ -z "$more" ] || echo "$more"; } | tr '\n' ' ' >"$out/lib/packages/$name"
    echo "pack-deps: $name: $kind, from $package $(dpkg-query -W -f '${Version}' "$package")" | tee -a \
        "$out/lib/packages.txt"
done

cat >"$out/bin/pkg-config" <<'TEXT'
#!/bin/sh
# pkg-config: answers --exists, --cflags and --libs for the packages packed beside it, wherever the folder lies.
top=$(cd "$(dirname "$0")/.." && pwd)
want= status=0 words=
for a in "$@"; do
    case $a in
    --exists) want=exists ;;
    --cflags) want=cflags ;;
    --libs) want=libs ;;
    --*) ;;
    *) if [ -f "$top/lib/packages/$a" ]; then words="$words $(cat "$top/lib/packages/$a")"; else
        status=1
        [ "$want" = exists ] || echo "pkg-config: $a was not packed" >&2
    fi ;;
    esac
done
case $want in
cflags) echo "-I$top/include" ;;
libs) echo "-L$top/lib -Wl,-rpath,$top/lib$words" ;;
esac
exit $status
TEXT
chmod +x "$out/bin/pkg-config"

mib=$(du -sm "$out" | cut -f 1)
for l in "${left[@]}"; do echo "pack-deps: left out: $l"; done
echo "pack-deps: $out holds $mib MiB; build with: DEPS=$out ./run.sh ..."
[ "$mib" -lt "$limit_mib" ] || { echo "pack-deps: that is more than $limit_mib MiB" >&2; exit 1; }
