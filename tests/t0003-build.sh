#!/bin/sh
# SPDX-License-Identifier: MIT
# The build: the same bytes from two folders, hardened programs, outside
# flags, installing and uninstalling, the counting of test results.
. "$(dirname "$0")/lib.sh"
require make cc
case $BUILD in
*/san)
	test_skip 'the build' 'the same for both builds'
	test_done ;;
esac
unset CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS MAKELEVEL MFLAGS
unset DESTDIR PREFIX
# The copy has no plug-in to make.
export NVCC=

# A small program of the tree stands for all: the frame and the base of the library.
copy() {
	mkdir -p "$1/lib/base" "$1/tools" "$1/man" "$1/pipelines" "$1/formats"
	cp -R "$SRC/Makefile" "$SRC/.ci" "$1"
	cp "$SRC"/lib/base/*.[ch] "$1/lib/base"
	cp "$SRC"/tools/tool.[ch] "$1/tools"
	echo x >"$1/pipelines/p"
	echo x >"$1/formats/f"
	echo .Dd x >"$1/man/peft-a.1"
	cat >"$1/tools/peft-a.c" <<-'X'
	#include "tool.h"
	#include "base/json.h"
	#include "base/rng.h"
	static const struct pt_opt opts[] = { { 0 } };
	static const struct pt_opt_spec spec = { "peft-a", "[options]", "Does nothing.", opts };
	int main(int argc, char **argv)
	{
		struct pt_tool t;
		struct pt_error err = PT_ERROR_INIT;
		tool_init(&t, &spec, argc, argv);
		pt_json_free(pt_json_read("/dev/null", 0, &err));
		return (int)pt_rng_below(1, 2, 1);
	}
	X
}

copy one
copy a-folder-with-another-name
unset BUILD

test_that 'the interface of plug-ins changes with any header that both sides read' '
	mkdir -p abi/lib
	cp -R "$SRC/Makefile" "$SRC/.ci" abi
	cp -R "$SRC/lib/base" "$SRC/lib/device" abi/lib
	of() { make -C abi -n V=1 build/lib/device/plugin.o | grep -o "PT_DEVICE_ABI=[0-9]*u"; }
	of >now
	of | cmp - now
	for h in device/kernels device/device device/open base/dtype base/error; do
		echo "/* more */" >>"abi/lib/$h.h"
		of >then
		exits 1 cmp now then
		mv then now
	done'
test_that 'two folders give the same bytes' '
	make -s -C one >/dev/null
	make -s -C a-folder-with-another-name >/dev/null
	cmp one/build/bin/peft-a a-folder-with-another-name/build/bin/peft-a
	cmp one/build/libpeft.a a-folder-with-another-name/build/libpeft.a'

if command -v readelf >/dev/null; then
	test_that 'programs are position-independent, with full relro' '
		readelf -hW one/build/bin/peft-a | grep "Type:.*DYN"
		readelf -lW one/build/bin/peft-a | grep GNU_RELRO
		readelf -dW one/build/bin/peft-a | grep BIND_NOW
		readelf -sW one/build/bin/peft-a | grep __stack_chk_fail'
	test_that 'libraries that are not used are not loaded' '
		exits 1 sh -c "readelf -dW one/build/bin/peft-a | grep -E \"NEEDED.*(archive|blas|zstd)\""'
fi

test_that 'CFLAGS and BUILD from outside are honoured, nothing is written elsewhere' '
	CFLAGS="-O0 -DOUTSIDE_FLAG" make V=1 -C one BUILD="$PWD/elsewhere" "$PWD/elsewhere/lib/base/log.o" >log 2>&1
	grep "DOUTSIDE_FLAG" log
	exits 1 grep -i warning log
	exits 1 grep FORTIFY log
	test -f elsewhere/lib/base/log.o
	make -n -C one BUILD=elsewhere2 CFLAGS=-O3 elsewhere2/lib/base/log.o | grep "FORTIFY_SOURCE=2.* -O3"'

test_that 'install and uninstall under DESTDIR leave nothing behind' '
	make -s -C one install DESTDIR="$PWD/root" PREFIX=/usr >/dev/null
	root/usr/bin/peft-a --version
	test -f root/usr/share/man/man1/peft-a.1
	test -f root/usr/share/peft/pipelines/p
	test -f root/usr/share/peft/formats/f
	make -s -C one uninstall DESTDIR="$PWD/root" PREFIX=/usr >/dev/null
	find root -type f >left
	test ! -s left
	test ! -d root/usr/share/peft'

if command -v clang >/dev/null; then
	test_that 'a second compiler has nothing to say' '
		for f in "$SRC"/lib/*/*.c "$SRC"/lib/*/*/*.c "$SRC"/tools/*.c; do
			[ -e "$f" ] || continue
			clang -std=c11 -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -I"$SRC/lib" -Wall -Wextra \
				-Wshadow -Wstrict-prototypes -Wvla -Wno-unknown-pragmas -ffp-contract=off \
				$(pkg-config --cflags libcjson libzstd libarchive libpcre2-8 libxxhash) \
				-DPT_VERSION="\"0\"" -DPT_LIBDIR="\"/\"" -DPT_DEVICE_ABI=0u -fsyntax-only "$f" 2>&1 || echo "$f: status $?"
		done >log
		cat log
		test ! -s log'
else
	test_skip 'a second compiler has nothing to say' 'no clang'
fi

# tests/run counts cases; a test that dies or keeps no plan is a failure.
mkdir -p r/tests/unit r/build/tests/unit
cp "$SRC/tests/run" r/tests
printf '#!/bin/sh\necho 1..3; echo ok 1 - a; echo ok 2 - b; echo "ok 3 - c # SKIP none"\n' >r/tests/t1-good.sh
test_that 'tests/run: passes are counted, skips are not' '
	cd r
	BUILD=build sh tests/run >out
	test "$(tail -n 1 out)" = "2 passed, 0 failed"
	grep "1 skipped" out'
test_that 'tests/run: each way to fail is one failure' '
	cd r
	echo "echo 1..2; echo ok 1; echo not ok 2 - broken; echo \"# why\"; exit 1" >tests/t2-fails.sh
	echo "echo 1..2; echo ok 1" >tests/t3-stops.sh
	echo "echo ok 1" >tests/t4-planless.sh
	echo "echo 1..1; echo ok 1; kill -9 \$\$" >tests/t5-dies.sh
	echo "sleep 100" >tests/t6-hangs.sh
	: >tests/unit/unbuilt.c
	TEST_TIMEOUT=1 BUILD=build exits 1 sh tests/run >out
	cat out
	test "$(tail -n 1 out)" = "6 passed, 6 failed"
	grep "# why" out
	printf "3 0\n" >build/tests/result
	mkdir -p other/tests
	printf "4 1\n" >other/tests/result
	exits 1 sh tests/run --sum 0 build other >out
	test "$(tail -n 1 out)" = "7 passed, 1 failed"
	exits 1 sh tests/run --sum 0 build missing >out
	test "$(tail -n 1 out)" = "3 passed, 1 failed"
	sh tests/run --sum 0 build
	exits 1 sh tests/run --sum 1 build'
test_done
