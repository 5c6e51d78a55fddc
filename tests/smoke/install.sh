#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `meson install` puts down is enough for a stranger: the first client in the README compiles
# against the installed header with pkg-config alone, and talks to a server.
. "$(dirname "$0")/init.sh"

root=$work/root
expect 0 meson install -C "$SMOKE_BUILD" --no-rebuild --quiet --destdir "$root"
file=$(find "$root" -name kvrail.pc)
[ -n "$file" ] || fail "no kvrail.pc was installed"
export PKG_CONFIG_PATH=${file%/*} PKG_CONFIG_SYSROOT_DIR=$root
# The README's block of C is the example, to the letter.
sed -n '/^```c$/,/^```$/p' "$here/../../README.md" | sed '/^```/d' > "$work/first.c"
cmp "$work/first.c" "$here/../../examples/first.c" ||
    fail "the README's first client is not examples/first.c"
read -r -a flags <<< "$(pkg-config --cflags --libs kvrail)"
expect 0 cc -std=c11 -Wall -Wextra -Werror -o "$work/first" "$work/first.c" "${flags[@]}"
export LD_LIBRARY_PATH=${file%/pkgconfig/*}
start_server
expect 0 "$work/first" "$url"
# The README shows what it prints.
same "$out" "$(sed -n '/^\$ cc first.c/,/^```$/p' "$here/../../README.md" | sed '1d;$d')" "its output"
stop_server
