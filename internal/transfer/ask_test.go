package transfer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/dnstest"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// dialUDP answers each datagram with datagrams, and nothing over TCP.
func dialUDP(reply func(query []byte) [][]byte) func(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
		if network != "udp" {
			return nil, errors.New("no TCP here")
		}
		here, there := net.Pipe() // which keeps what one Write sends together
		go func() {
			defer there.Close()
			b := make([]byte, wire.MaxMessage)
			for {
				n, err := there.Read(b)
				if err != nil {
					return
				}
				for _, msg := range reply(bytes.Clone(b[:n])) {
					if _, err := there.Write(msg); err != nil {
						return
					}
				}
			}
		}()
		return here, nil
	}
}

// says returns a reply to a query with an SOA record and a serial, signed if there is a
// key.
func says(t *testing.T, q []byte, serial uint32, k *tsig.Key) []byte {
	var m wire.Message
	if bad := m.Parse(q); bad != 0 {
		t.Error(bad)
		return nil
	}
	r := wire.AppendQuery(nil, m.ID, wire.FlagQR|wire.FlagAA|uint16(m.Opcode)<<11, m.Name, m.Type)
	if m.Opcode == wire.OpcodeQuery {
		ttl, soa := version(t, serial, 1, "").SOA()
		r = zone.AppendRecord(r, apex, wire.TypeSOA, ttl, soa)
		r[7] = 1
	}
	if k == nil {
		return r
	}
	signed, rcode := tsig.Verify(tsig.NewRing(*k), q, time.Now())
	if rcode != wire.NoError && rcode != wire.NotAuth {
		t.Error(rcode)
	}
	return signed.Sign(r, time.Now())
}

// TestForgedDatagrams has somebody answer before the server does: whatever is not signed
// as the question was is passed over, and the wait goes on (RFC 8945, section 5.4).
func TestForgedDatagrams(t *testing.T) {
	stranger := tsig.Key{Name: key.Name, Algorithm: key.Algorithm, Secret: []byte("another secret..")}
	forged := func(q []byte) [][]byte {
		unsigned := says(t, q, 9, nil)
		refused := bytes.Clone(unsigned)
		refused[3] |= byte(wire.Refused)
		otherID := says(t, q, 9, &key)
		otherID[0]++
		short, changed := says(t, q, 9, &key), says(t, q, 9, &key)
		changed[2] ^= byte(wire.FlagAA >> 8)
		return [][]byte{unsigned, refused, says(t, q, 9, &stranger), otherID, changed, short[:len(short)-1]}
	}
	synctest.Test(t, func(t *testing.T) {
		c := transfer.Client{Dial: dialUDP(func(q []byte) [][]byte { return append(forged(q), says(t, q, 7, &key)) })}
		begin := time.Now()
		serial, _, err := c.Serial(t.Context(), transfer.Primary{Key: &key}, apex)
		if err != nil || serial != 7 || time.Since(begin) != 0 {
			t.Errorf("serial %d after %v: %v", serial, time.Since(begin), err)
		}
		if err := c.Notify(t.Context(), transfer.Primary{Key: &key}, transfer.NotifyMessage(version(t, 7, 1, "")), 2*time.Second); err != nil || time.Since(begin) != 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		// Without a key, nothing but that it can be read is there to tell who answered.
		c.Dial = dialUDP(func(q []byte) [][]byte { r := says(t, q, 9, nil); return [][]byte{r[:len(r)-1], r} })
		if serial, _, err := c.Serial(t.Context(), transfer.Primary{}, apex); err != nil || serial != 9 {
			t.Errorf("serial %d: %v", serial, err)
		}
	})
	// What is wrong with the signature is said if nothing better comes.
	synctest.Test(t, func(t *testing.T) {
		c := transfer.Client{Dial: dialUDP(func(q []byte) [][]byte { return [][]byte{says(t, q, 9, &stranger)} })}
		if err := c.Notify(t.Context(), transfer.Primary{Key: &key}, transfer.NotifyMessage(version(t, 7, 1, "")), 2*time.Second); !errors.Is(err, tsig.ErrRefused) {
			t.Error(err)
		}
		begin := time.Now()
		if _, _, err := c.Serial(t.Context(), transfer.Primary{Key: &key}, apex); !errors.Is(err, tsig.ErrRefused) || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// TestBareErrors has servers that answer a NOTIFY or an update without the question.
func TestBareErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := transfer.Client{Dial: dialUDP(func(q []byte) [][]byte {
			r := bytes.Clone(q[:wire.HeaderLen])
			r[2], r[3] = r[2]|0x80, byte(wire.NotImp)
			copy(r[4:], make([]byte, 8))
			return [][]byte{r}
		})}
		var refused *transfer.RefusedError
		if err := c.Notify(t.Context(), transfer.Primary{}, transfer.NotifyMessage(version(t, 7, 1, "")), 2*time.Second); !errors.As(err, &refused) || refused.Rcode != wire.NotImp {
			t.Error(err)
		}
		if _, _, err := c.Serial(t.Context(), transfer.Primary{}, apex); !errors.As(err, &refused) {
			t.Error(err)
		}
	})
	update := wire.AppendQuery(nil, 0x1234, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	for what, c := range map[string]struct {
		spoil func(r []byte) []byte
		want  error
	}{
		"the zone":    {func(r []byte) []byte { return r }, nil},
		"no zone":     {func(r []byte) []byte { r[5] = 0; return r[:wire.HeaderLen] }, nil}, // RFC 2136, section 3.8
		"another ID":  {func(r []byte) []byte { r[0]++; return r }, transfer.ErrWrong},
		"a query's":   {func(r []byte) []byte { r[2] = 0x80; return r }, transfer.ErrWrong},
		"no response": {func(r []byte) []byte { r[2] &= 0x7F; return r }, transfer.ErrWrong},
		"no header":   {func(r []byte) []byte { return r[:11] }, transfer.ErrWrong},
	} {
		dial := func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return dialReply(network, func(q []byte, _ wire.Type) [][]byte {
				r := bytes.Clone(q)
				r[2] |= 0x80
				return [][]byte{c.spoil(r)}
			})
		}
		client := transfer.Client{Dial: dial}
		if r, err := client.Forward(t.Context(), transfer.Primary{Key: &key}, update); !errors.Is(err, c.want) {
			t.Errorf("%s: %x, %v", what, r, err)
		}
	}
}

// TestSilentPrimary bounds how long one that does not answer is waited for: as it is
// connected to, and after.
func TestSilentPrimary(t *testing.T) {
	for _, c := range []struct {
		what    string
		connect bool // connecting succeeds
		limits  transfer.Limits
		want    time.Duration
	}{
		{"connecting, as a rule", false, transfer.Limits{}, 10 * time.Second},
		{"connecting", false, transfer.Limits{Connect: 3 * time.Second}, 3 * time.Second},
		{"within a transfer, as a rule", true, transfer.Limits{}, 30 * time.Second},
		{"within a transfer", true, transfer.Limits{Idle: 5 * time.Second}, 5 * time.Second},
		{"a question", true, transfer.Limits{Idle: 2 * time.Second}, 2 * time.Second},
		{"all of a transfer", true, transfer.Limits{Total: 2 * time.Second}, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := transfer.Client{Limits: c.limits, Dial: func(ctx context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
				if network == "udp" {
					return nil, errors.New("no UDP here")
				}
				if c.connect {
					return dialReply(network, func([]byte, wire.Type) [][]byte { time.Sleep(time.Hour); return nil })
				}
				<-ctx.Done()
				return nil, ctx.Err()
			}}
			calls := map[string]func() error{
				"Fetch": func() error {
					_, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
					return err
				},
			}
			if c.limits.Total == 0 {
				calls["Serial"] = func() error {
					_, _, err := client.Serial(t.Context(), transfer.Primary{}, apex)
					return err
				}
				calls["Forward"] = func() error {
					_, err := client.Forward(t.Context(), transfer.Primary{}, wire.AppendQuery(nil, 1, 0, apex, wire.TypeSOA))
					return err
				}
			}
			for name, call := range calls {
				begin, want := time.Now(), c.want
				if name == "Serial" {
					want = min(want, 3*time.Second) // who has something to say to that says it at once
				}
				err := call()
				if took := time.Since(begin); took != want || !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %s: %v after %v, want %v", c.what, name, err, took, want)
				}
			}
			time.Sleep(2 * time.Hour) // the servers' ends
		})
	}
}

// TestOctetsOnTheWire bounds what a transfer may bring beside its records.
func TestOctetsOnTheWire(t *testing.T) {
	ttl, soa := version(t, 9, 1, "").SOA()
	for messages, want := range map[int]error{99: transfer.ErrWrong, 100: transfer.ErrTooLarge} { // which ends early, and is too large
		dial := func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return dialReply(network, func(q []byte, typ wire.Type) [][]byte {
				var list [][]byte
				for n := range messages {
					m := wire.AppendQuery(nil, binary.BigEndian.Uint16(q), wire.FlagQR|wire.FlagAA, apex, typ)
					if n == 0 {
						m = zone.AppendRecord(m, apex, wire.TypeSOA, ttl, soa)
						m[7] = 1
					}
					left := 1000 - 2 - len(m) - len(apex) - 10
					m = zone.AppendRecord(m, apex, wire.TypeNULL, 0, make([]byte, left))
					m[11] = 1 // an additional record, which nobody takes
					list = append(list, m)
				}
				return list
			})
		}
		c := transfer.Client{Dial: dial, Limits: transfer.Limits{Octets: 100*1000 - 1}}
		_, err := c.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed)
		if !errors.Is(err, want) || want == transfer.ErrTooLarge && strings.Contains(err.Error(), "uncompressed") {
			t.Errorf("%d messages: %v", messages, err)
		}
	}
}

// TestRecordsElsewhere has a primary send records that its zone cannot have.
func TestRecordsElsewhere(t *testing.T) {
	z := version(t, 7, 1, "")
	ttl, soa := z.SOA()
	parent, sibling := apex[1+int(apex[0]):], append([]byte("\x05other"), apex[1+int(apex[0]):]...)
	below := append([]byte("\x03sub"), apex...)
	for what, c := range map[string]struct {
		owner []byte
		typ   wire.Type
		class wire.Class
		want  string
	}{
		"the parent":     {parent, wire.TypeA, wire.ClassIN, "is not in the zone"},
		"a sibling":      {sibling, wire.TypeA, wire.ClassIN, "is not in the zone"},
		"another class":  {below, wire.TypeA, wire.ClassCH, "is not in the zone"},
		"a zone's below": {below, wire.TypeSOA, wire.ClassIN, "a SOA record stands at sub.example.test."},
	} {
		dial := func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return dialReply(network, func(q []byte, typ wire.Type) [][]byte {
				m := wire.AppendQuery(nil, binary.BigEndian.Uint16(q), wire.FlagQR|wire.FlagAA, apex, typ)
				m = zone.AppendRecord(m, apex, wire.TypeSOA, ttl, soa)
				data := []byte{192, 0, 2, 1}
				if c.typ == wire.TypeSOA {
					data = soa
				}
				at := len(m)
				m = zone.AppendRecord(m, c.owner, c.typ, 60, data)
				binary.BigEndian.PutUint16(m[at+len(c.owner)+2:], uint16(c.class))
				m = zone.AppendRecord(m, apex, wire.TypeSOA, ttl, soa)
				m[7] = 3
				return [][]byte{m}
			})
		}
		client := transfer.Client{Dial: dial}
		if r, err := client.Fetch(t.Context(), transfer.Primary{}, apex, nil, dnstest.Seed); !errors.Is(err, transfer.ErrWrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
}
