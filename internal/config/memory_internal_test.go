package config

import (
	"strings"
	"testing"
)

// TestMemoryOf32Bits has tables that no 32-bit program can have.
func TestMemoryOf32Bits(t *testing.T) {
	const head = "role: public-resolver\n"
	for _, s := range []struct {
		text string
		bits int
		want string // "": good
	}{
		{"resolver: {cache: {size: 4GiB}}\n", 64, ""},
		{"resolver: {cache: {size: 1GiB}}\n", 32, ""},
		{"resolver: {cache: {size: 4GiB}}\n", 32, "port53.yaml:2:26: resolver.cache.size: 4GiB is more than this 32-bit program can have"},
		{"policy: {rate_limit: {table: 2GiB}}\n", 32, "port53.yaml:2:30: policy.rate_limit.table: 2GiB is more than this 32-bit program can have"},
		{"", 32, ""},
	} {
		d := parse("port53.yaml", []byte(head+s.text), false)
		d.errs = nil
		d.checkMemory(s.bits)
		if got := d.errs.Error(); s.want == "" && got != "" || !strings.HasPrefix(got, s.want) {
			t.Errorf("%q with %d bits: %q, want %q", s.text, s.bits, got, s.want)
		}
	}
}
