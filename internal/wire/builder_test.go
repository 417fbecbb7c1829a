package wire_test

import (
	"bytes"
	"testing"

	"port53/internal/wire"
)

// A name is written once more as a pointer where one reaches, and as labels where not.
func TestAppendReference(t *testing.T) {
	var q wire.Query
	if bad := q.Parse(wire.AppendQuery(nil, 1, 0, []byte("\x03www\x07example\x00"), wire.TypeA)); bad != 0 {
		t.Fatal(bad)
	}
	var b wire.Builder
	b.Start(make([]byte, wire.MaxMessage), wire.MaxMessage, 0, &q)
	put := func(octets string) int {
		at := b.Len()
		copy(b.Grow(wire.Answer, len(octets), 0), octets)
		return at
	}
	pointer := put("\xc0\x0c")   // a name that is a pointer alone
	near := put("\x01a\xc0\x10") // a.example.
	put(string(make([]byte, wire.MaxPointer-b.Len())))
	last := put("\x01b\x00")              // at the last offset that a pointer reaches
	far := put("\x01c\x01d" + "\xc0\x1f") // c.d.a.example.
	plain := put("\x01e\x00")
	for _, s := range []struct {
		at   int
		want string
	}{
		{wire.HeaderLen, "\xc0\x0c"},
		{wire.HeaderLen + 4, "\xc0\x10"},
		{wire.HeaderLen + 12, "\x00"},
		{pointer, "\xc0\x0c"},
		{near, string([]byte{0xC0, byte(near)})},
		{last, "\xff\xff"},
		{last + 2, "\x00"},
		{far, "\x01c\x01d\xc0\x1f"},
		{far + 2, "\x01d\xc0\x1f"},
		{far + 4, "\xc0\x1f"},
		{plain, "\x01e\x00"},
	} {
		got := b.AppendReference([]byte("x"), s.at)
		if want := append([]byte("x"), s.want...); !bytes.Equal(got, want) {
			t.Errorf("the name at %d: %q, want %q", s.at, got, want)
		}
	}
}
