package signer_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"port53/internal/dnssec"
)

// TestKeyFilesAppearWhole: the files of a key have all that is in them when they get their names. A crash while one was
// written would leave a part of a key, for which no zone could be signed.
func TestKeyFilesAppearWhole(t *testing.T) {
	dir := t.TempDir()
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO); err != nil {
		t.Fatal(err)
	}
	if err := newKey(t, "example.com.", dnssec.ECDSAP256, true).Write(dir); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, err := unix.Read(watch, buf)
	if err != nil {
		t.Fatal(err)
	}
	appeared := 0
	for at := 0; at < n; {
		mask, size := binary.NativeEndian.Uint32(buf[at+4:]), int(binary.NativeEndian.Uint32(buf[at+12:]))
		file := strings.TrimRight(string(buf[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+size]), "\x00")
		at += unix.SizeofInotifyEvent + size
		switch whole := strings.HasSuffix(file, ".key") || strings.HasSuffix(file, ".private"); {
		case whole && mask&unix.IN_MODIFY != 0:
			t.Errorf("%s is written after it has its name", file)
		case whole:
			appeared++
		}
	}
	if appeared != 2 {
		t.Errorf("%d files of the key appeared", appeared)
	}
}
