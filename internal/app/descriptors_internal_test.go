package app

import (
	"testing"

	"port53/internal/config"
)

// TestShare has limits of all sizes: what is shared out is never more, and leaves the spare.
func TestShare(t *testing.T) {
	for name, text := range map[string]string{
		"authoritative": "role: authoritative\nudp: {workers: 2}\nzones: [{name: a.example, file: a.zone}]\n",
		"resolver":      "role: internal-resolver\nudp: {workers: 2}\n",
		"small":         "role: internal-resolver\nudp: {workers: 2}\ntcp: {max_connections: 64}\nresolver: {limits: {waiting: 100, per_client: 10, per_client_with_cookie: 20}}\n",
	} {
		c, err := config.Parse("port53.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int{64, 256, 1024, 4096, 65536} {
			d := share(c, limit)
			own := spareDescriptors + 2*3 + c.Transfers.MaxIn
			if d.need <= limit {
				if d.conns != c.TCP.MaxConnections || d.upstream != 0 {
					t.Errorf("%s, %d: %+v, though all fits", name, limit, d)
				}
				continue
			}
			if d.conns > c.TCP.MaxConnections || d.conns < leastDescriptors || c.Recurses() != (d.upstream >= leastDescriptors) ||
				limit >= own+2*leastDescriptors && own+d.conns+d.upstream > limit {
				t.Errorf("%s, %d: %+v, beside %d of its own", name, limit, d, own)
			}
		}
	}
}
