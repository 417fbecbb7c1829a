package transfer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

var key = tsig.Key{Name: []byte("\x03xfr\x00"), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef")}

// listing guards what primaries were asked: a connection may be there still when the next is.
var listing sync.Mutex

// A primary answers questions for zones over pipes.
type primary struct {
	t       *testing.T
	zone    *zone.Zone
	history func(uint32) []*zone.Delta
	keys    *tsig.Ring
	noIXFR  bool
	asked   []wire.Type                      // listing guards it
	spoil   func(n int, msg []byte) [][]byte // the n-th message of a reply, as it goes out; nil: it ends
}

func (p *primary) dial(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
	if network != "tcp" {
		return nil, errors.New("no UDP here")
	}
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		for {
			var length [2]byte
			if _, err := io.ReadFull(there, length[:]); err != nil {
				return
			}
			msg := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(there, msg); err != nil {
				return
			}
			if !p.answer(there, msg) {
				return
			}
		}
	}()
	return here, nil
}

func (p *primary) answer(conn net.Conn, msg []byte) bool {
	var m wire.Message
	if m.Parse(msg) != 0 {
		return false
	}
	listing.Lock()
	p.asked = append(p.asked, m.Type)
	listing.Unlock()
	context, rcode := tsig.Verify(p.keys, msg, time.Now())
	if p.noIXFR && m.Type == wire.TypeIXFR {
		rcode = wire.NotImp
	}
	if rcode != 0 {
		r := wire.AppendQuery(nil, m.ID, wire.FlagQR|uint16(rcode), m.Name, m.Type)
		if context != nil {
			r = context.Sign(r, time.Now())
		}
		_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
		return err == nil
	}
	o := transfer.Outgoing{Zone: p.zone, History: p.history}
	if context != nil {
		o.Stream = context.Stream()
	}
	request, err := transfer.ParseRequest(msg)
	if err != nil {
		p.t.Error(err)
		return false
	}
	n := 0
	return transfer.Send(request, o, func(msg []byte) error {
		list := [][]byte{msg}
		if p.spoil != nil {
			list = p.spoil(n, slices.Clone(msg))
		}
		n++
		if list == nil {
			return io.ErrClosedPipe
		}
		for _, msg := range list {
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
				return err
			}
		}
		return nil
	}) == nil
}

func version(t *testing.T, serial uint32, names int, more string) *zone.Zone {
	var b strings.Builder
	fmt.Fprintf(&b, "@ 60 SOA ns admin %d 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n%s", serial, more)
	for i := range names {
		fmt.Fprintf(&b, "Host%d.sub 60 A 192.0.2.7\nhost%d.sub 60 TXT \"%s\"\nalias%d 60 CNAME Host%d.sub\nmx%d 60 MX 10 host%d.sub\n", i, i, strings.Repeat("x", i%200), i, i, i, i)
	}
	return dnstest.Zone(t, "example.test.", b.String())
}

func contents(z *zone.Zone) []string {
	var list []string
	z.Each(func(owner []byte, t wire.Type, ttl uint32, data []byte) bool {
		list = append(list, fmt.Sprintf("%s %d %s %s", wire.AppendName(nil, owner), ttl, t, wire.AppendRdataText(nil, t, data)))
		return true
	})
	slices.Sort(list)
	return list
}

func fetch(p *primary, k *tsig.Key, have *zone.Zone, limits transfer.Limits) (*transfer.Result, error) {
	c := transfer.Client{Dial: p.dial, Limits: limits}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return c.Fetch(ctx, transfer.Primary{Key: k}, []byte("\x07example\x04test\x00"), have, dnstest.Seed)
}

func TestAXFR(t *testing.T) {
	z := version(t, 7, 3000, "")
	for _, k := range []*tsig.Key{nil, &key} {
		p := &primary{t: t, zone: z, keys: tsig.NewRing(key)}
		r, err := fetch(p, k, nil, transfer.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Deltas != nil || !slices.Equal(contents(r.Zone), contents(z)) {
			t.Error("what was fetched is not what was sent")
		}
		if r.Messages < 3 || r.Octets/int64(r.Messages) < 50000 {
			t.Errorf("%d octets in %d messages", r.Octets, r.Messages)
		}
	}
}

func TestIXFR(t *testing.T) {
	versions := []*zone.Zone{version(t, 1<<32-1, 500, "a 60 A 192.0.2.1\n"), version(t, 0, 500, "b 60 A 192.0.2.2\n"), version(t, 1, 500, "b 60 A 192.0.2.3\nc 60 A 192.0.2.4\n")}
	deltas := []*zone.Delta{zone.Diff(versions[0], versions[1]), zone.Diff(versions[1], versions[2])}
	history := func(from uint32) []*zone.Delta {
		for i, d := range deltas {
			if d.From == from {
				return deltas[i:]
			}
		}
		return nil
	}
	changed := 0
	for _, d := range deltas {
		changed += len(d.Added) + len(d.Removed)
	}
	for _, s := range []struct {
		what   string
		have   *zone.Zone
		p      primary
		deltas int
		newest bool
		asked  []wire.Type
		octets int64
	}{
		{"two differences", versions[0], primary{history: history}, 2, true, []wire.Type{wire.TypeIXFR}, int64(2 * changed)},
		{"one difference", versions[1], primary{history: history}, 1, true, []wire.Type{wire.TypeIXFR}, int64(2 * changed)},
		{"nothing new", versions[2], primary{history: history}, 0, false, []wire.Type{wire.TypeIXFR}, 200},
		{"no history", versions[0], primary{}, 0, true, []wire.Type{wire.TypeIXFR}, 1 << 20},
		{"no IXFR", versions[0], primary{noIXFR: true}, 0, true, []wire.Type{wire.TypeIXFR, wire.TypeAXFR}, 1 << 20},
		{"differences that do not fit", version(t, 1<<32-1, 10, ""), primary{history: history}, 0, true, []wire.Type{wire.TypeIXFR, wire.TypeAXFR}, 1 << 20},
	} {
		p := &s.p
		p.t, p.zone, p.keys = t, versions[2], tsig.NewRing(key)
		r, err := fetch(p, &key, s.have, transfer.Limits{})
		if err != nil {
			t.Errorf("%s: %v", s.what, err)
			continue
		}
		if (r.Zone != nil) != s.newest || len(r.Deltas) != s.deltas || !slices.Equal(p.asked, s.asked) || r.Octets > s.octets {
			t.Errorf("%s: a version: %v, %d differences, asked %v, %d octets", s.what, r.Zone != nil, len(r.Deltas), p.asked, r.Octets)
		}
		if r.Zone != nil && !slices.Equal(contents(r.Zone), contents(versions[2])) {
			t.Errorf("%s: not the newest version", s.what)
		}
	}
}

// TestIXFROverUDP has differences that fit into one datagram, and some that do not.
func TestIXFROverUDP(t *testing.T) {
	old, now := version(t, 1, 50, ""), version(t, 2, 50, "a 60 A 192.0.2.1\n")
	large := version(t, 2, 50, "a 60 TXT \""+strings.Repeat("y", 250)+"\" \""+strings.Repeat("z", 250)+"\"\n")
	ttl, soa := old.SOA()
	msg := zone.AppendRecord(wire.AppendQuery(nil, 1, 0, old.Apex(), wire.TypeIXFR), old.Apex(), wire.TypeSOA, ttl, soa)
	msg[9] = 1
	request, err := transfer.ParseRequest(msg)
	if err != nil || request.Serial != 1 {
		t.Fatal(err)
	}
	for z, want := range map[*zone.Zone]int{now: 5, large: 1, old: 1} {
		var got wire.Message
		calls := 0
		err := transfer.Send(request, transfer.Outgoing{
			Zone: z, UDP: true, UDPSize: 1232,
			History: func(uint32) []*zone.Delta { return []*zone.Delta{zone.Diff(old, z)} },
		}, func(msg []byte) error {
			calls++
			if len(msg) > 512 || got.Parse(msg) != 0 {
				t.Errorf("%d octets", len(msg))
			}
			return nil
		})
		if err != nil || calls != 1 || len(got.Records) != want || zone.SerialOf(got.Records[0].Data) != z.Serial() {
			t.Errorf("serial %d: %v, %d messages, %d records", z.Serial(), err, calls, len(got.Records))
		}
	}
}

// TestLiars has primaries that do not send what they should. Nothing of it is taken,
// and the error says why.
func TestLiars(t *testing.T) {
	z := version(t, 7, 3000, "")
	same := func(msg []byte) [][]byte { return [][]byte{msg} }
	other, err := wire.ParseName("other.test.")
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]struct {
		spoil  func(n int, msg []byte) [][]byte
		key    *tsig.Key
		limits transfer.Limits
		want   string
	}{
		"ends early": {func(n int, msg []byte) [][]byte {
			if n == 2 {
				return nil
			}
			return same(msg)
		}, nil, transfer.Limits{}, "ends after 2 messages"},
		"leaves a message out": {func(n int, msg []byte) [][]byte {
			if n == 1 {
				return [][]byte{}
			}
			return same(msg)
		}, &key, transfer.Limits{}, "BADSIG"},
		"spoils one in the middle": {func(n int, msg []byte) [][]byte {
			if n == 1 {
				msg[1000] ^= 1
			}
			return same(msg)
		}, &key, transfer.Limits{}, "message 2"},
		"signs the first alone": {func(n int, msg []byte) [][]byte {
			if n > 0 {
				end := len(msg) - tsig.RequestOverhead(&key)
				msg = msg[:end]
				binary.BigEndian.PutUint16(msg[10:], binary.BigEndian.Uint16(msg[10:])-1)
			}
			return same(msg)
		}, &key, transfer.Limits{}, "not signed"},
		"never ends": {func(_ int, msg []byte) [][]byte {
			list := make([][]byte, 1000)
			for i := range list {
				list[i] = msg
			}
			return list
		}, nil, transfer.Limits{Octets: 1 << 20}, "in order"},
		"sends too many records": {func(_ int, msg []byte) [][]byte { return same(msg) }, nil, transfer.Limits{Records: 100}, "more than 100 records"},
		"sends too many octets":  {func(_ int, msg []byte) [][]byte { return same(msg) }, nil, transfer.Limits{Octets: 100_000}, "more than 100000 octets"},
		"answers another question": {func(_ int, msg []byte) [][]byte {
			return same(wire.AppendQuery(nil, binary.BigEndian.Uint16(msg), wire.FlagQR|wire.FlagAA, other, wire.TypeAXFR))
		}, nil, transfer.Limits{}, "another question"},
		"has another ID": {func(_ int, msg []byte) [][]byte {
			msg[0] ^= 1
			return same(msg)
		}, nil, transfer.Limits{}, "not a reply to the query"},
		"is silent":      {func(int, []byte) [][]byte { return [][]byte{} }, nil, transfer.Limits{Idle: 50 * time.Millisecond}, "timeout"},
		"takes for ever": {func(int, []byte) [][]byte { return [][]byte{} }, nil, transfer.Limits{Total: 50 * time.Millisecond}, "deadline"},
		"sends garbage":  {func(_ int, msg []byte) [][]byte { return same(msg[:len(msg)-3]) }, nil, transfer.Limits{}, "not a reply to the query"},
	} {
		p := &primary{t: t, zone: z, keys: tsig.NewRing(key), spoil: s.spoil}
		r, err := fetch(p, s.key, nil, s.limits)
		if err == nil || !strings.Contains(err.Error(), s.want) {
			t.Errorf("%s: %+v %v", what, r, err)
		}
	}
	// The key's owner alone gets the zone, and hears why not.
	wrong := key
	wrong.Secret = []byte("another secret..")
	p := &primary{t: t, zone: z, keys: tsig.NewRing(key)}
	if _, err := fetch(p, &wrong, nil, transfer.Limits{}); !errors.Is(err, tsig.ErrRefused) || !strings.Contains(err.Error(), "BADSIG") {
		t.Error(err)
	}
}

func BenchmarkSend(b *testing.B) {
	var text strings.Builder
	text.WriteString("@ 60 SOA ns admin 1 1 2 3 4\n@ 60 NS ns\nns 60 A 192.0.2.1\n")
	for i := range 100_000 {
		fmt.Fprintf(&text, "host%d 60 A 192.0.2.7\n", i)
	}
	z := dnstest.Zone(b, "example.test.", text.String())
	r, err := transfer.ParseRequest(wire.AppendQuery(nil, 1, 0, z.Apex(), wire.TypeAXFR))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := transfer.Send(r, transfer.Outgoing{Zone: z}, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(z.Records())/b.Elapsed().Seconds(), "records/s")
}

// TestFormsOfSets sends zones with all that makes sets differ in how they are stored: names
// that share ends with their owner, with each other and with nothing, sets larger than a
// message's near part, spellings, wildcards, signatures, NSEC3, and the root.
func TestFormsOfSets(t *testing.T) {
	var b strings.Builder
	b.WriteString("@ 60 SOA Ns.Sub admin 7 1 2 3 4\n@ 60 NS ns.sub\n@ 60 NS ns.other.example.\n@ 60 MX 10 mail\n@ 60 MX 20 mail.sub\nns.sub 60 A 192.0.2.1\n")
	for i := range 1500 {
		fmt.Fprintf(&b, "Cut%d 60 NS ns1.cut%[1]d\ncut%[1]d 60 NS a.provider%d.example.\ncut%[1]d 60 NS b.Provider%[2]d.example.\nns1.cut%[1]d 60 A 10.0.%d.%d\n", i, i%7, i/250, i%250)
		fmt.Fprintf(&b, "h%d 60 A 10.1.%d.%d\nh%[1]d 60 A 10.2.%[2]d.%[3]d\nh%[1]d 60 MX 1 mail.h%[1]d\n_x._tcp.h%[1]d 60 SRV 1 2 3 h%[1]d\nA%[1]d.w 60 CNAME h%[1]d\nc%[1]d 60 CNAME elsewhere.example.\n", i, i/250, i%250)
	}
	for i := range 400 {
		fmt.Fprintf(&b, "big 60 TXT \"%03d %s\"\n", i, strings.Repeat("y", i%200))
		fmt.Fprintf(&b, "many 60 PTR p%d.Many\nmany 60 PTR q%[1]d.elsewhere.example.\n", i)
	}
	b.WriteString("*.wild 60 MX 5 x.wild\n*.wild 60 TXT \"any\"\n")
	signed := "@ 60 SOA ns admin 7 1 2 3 4\n@ 60 NS ns\n@ 60 NSEC3PARAM 1 0 0 -\nns 60 A 192.0.2.1\n"
	for i := range 900 {
		signed += fmt.Sprintf("n%d 60 MX 1 m.n%[1]d\nn%[1]d 60 RRSIG MX 8 3 60 20300101000000 20200101000000 1 @ %s\n", i, strings.Repeat("QUJD", 40))
		signed += fmt.Sprintf("%08dp9krgiiqkkpd3v8p2e2k4kc6 60 NSEC3 1 0 0 - %08[1]dp9krgiiqkkpd3v8p2e2k4kc7 A RRSIG\n", i)
	}
	root := "@ 60 SOA a.root-servers.net. nstld 7 1 2 3 4\n@ 60 NS a.root-servers.net.\n@ 60 NS b.root-servers.net.\n"
	for i := range 2000 {
		root += fmt.Sprintf("t%d 60 NS a.nic.t%[1]d.\nt%[1]d 60 NS b.nic.t%[1]d.\na.nic.t%[1]d 60 A 192.0.2.1\nb.nic.t%[1]d 60 A 192.0.2.2\n", i)
	}
	for name, text := range map[string]string{"example.test.": b.String(), "Signed.Test.": signed, ".": root} {
		z := dnstest.Zone(t, name, text)
		p := &primary{t: t, zone: z, keys: tsig.NewRing(key)}
		for _, k := range []*tsig.Key{nil, &key} {
			c := transfer.Client{Dial: p.dial}
			r, err := c.Fetch(t.Context(), transfer.Primary{Key: k}, z.Apex(), nil, dnstest.Seed)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			// The zone's own name is spelled as it was asked for.
			got, want := strings.Split(strings.ToLower(strings.Join(contents(r.Zone), "\n")), "\n"), strings.Split(strings.ToLower(strings.Join(contents(z), "\n")), "\n")
			slices.Sort(got)
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Errorf("%s: %d records come, of %d", name, len(got), len(want))
				for i := range got {
					if i < len(want) && got[i] != want[i] {
						t.Errorf("%s\n%s", got[i], want[i])
						break
					}
				}
			}
		}
	}
}
