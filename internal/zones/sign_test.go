package zones_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"port53/internal/dnstest"
	"port53/internal/store/storetest"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// signedFor is how long the signatures of a counting signer are valid.
const signedFor = 12 * time.Hour

// A counting signer gives a version of its own each time that an hour has passed, whose serial is
// a hundred above, and one more each time.
type counting struct {
	t     *testing.T
	calls atomic.Int32
	fail  atomic.Bool
	kind  string
}

func (s *counting) Sign(_ context.Context, _ wire.Seed, have, plain *zone.Zone, _ []*zone.Delta) (*zones.Signed, error) {
	if s.fail.Load() {
		return nil, errors.New("no key")
	}
	s.calls.Add(1)
	serial := plain.Serial() + 100
	if have != nil {
		serial = max(serial, have.Serial()+1)
	}
	d := zone.Diff(plain, at(s.t, "test.", int(serial)))
	sig := make([]byte, 18, 24) // of the SOA record; it is not verified
	binary.BigEndian.PutUint16(sig, uint16(wire.TypeSOA))
	binary.BigEndian.PutUint32(sig[8:], uint32(time.Now().Add(signedFor).Unix()))
	sig = append(append(sig, dnstest.Name(s.t, "test.")...), 1)
	d.Added = zone.AppendRecord(d.Added, dnstest.Name(s.t, "test."), wire.TypeRRSIG, 60, sig)
	next, problems := plain.Apply(d)
	if next == nil {
		s.t.Error(problems)
	}
	return &zones.Signed{Zone: next, Deltas: diff(have, next), Resign: time.Now().Add(time.Hour), Keys: []string{s.kind}}, nil
}

func diff(have, next *zone.Zone) []*zone.Delta {
	if have == nil {
		return nil
	}
	return []*zone.Delta{zone.Diff(have, next)}
}

func (*counting) Try(context.Context, wire.Seed, *zone.Zone, *zone.Zone) error { return nil }

func (s *counting) Same(other zones.Signer) bool { return other.(*counting).kind == s.kind }

// TestSignedAgain has zones of a file and of primaries signed when it is time, over restarts, after
// failures, and when the way of signing changes.
func TestSignedAgain(t *testing.T) {
	p := newPrimary(at(t, "test.", 1))
	for what, source := range map[string]zones.Source{
		"origin":    {Apex: dnstest.Name(t, "test."), Origin: &memoryOrigin{zone: at(t, "test.", 1)}},
		"primaries": secondary(t, "test."),
	} {
		kept, signatures := storetest.NewMemory(), storetest.NewMemory()
		inWorld(t, p, func(w *world) {
			w.stop()
			sign := &counting{t: t, kind: "one"}
			source.Signer = sign
			options := zones.Options{Store: kept, Signatures: signatures}
			options.Client.Dial = p.dial
			w.startWith(options)
			w.load(source)
			serial := func(when string, want int) {
				t.Helper()
				w.settle(time.Second)
				if got := w.serial("test."); got != want {
					t.Errorf("%s, %s: serial %d, want %d", what, when, got, want)
				}
			}
			serial("loaded", 101)
			w.settle(time.Hour)
			serial("an hour later", 102)
			if s := w.manager.Status()[0]; s.Signing == nil || s.Signing.UnsignedSerial != 1 || s.Serial != 102 || len(s.Signing.Keys) != 1 {
				t.Errorf("%s: status %+v", what, s.Signing)
			}
			sign.fail.Store(true)
			w.settle(time.Hour)
			serial("it fails", 102)
			if s := w.manager.Status()[0]; s.Signing.LastError == "" {
				t.Errorf("%s: nothing is told of the failure", what)
			}
			sign.fail.Store(false)
			w.settle(6 * time.Minute)
			serial("it works again", 103)
			w.stop()
			w.startWith(options)
			w.load(source)
			serial("after a restart", 104) // the signer makes a new one each time
			w.stop()
			sign.fail.Store(true)
			w.startWith(options)
			w.load(source)
			serial("started, and it fails", 104)
			if s := w.manager.Status()[0]; s.Signing == nil || s.Signing.LastError == "" {
				t.Errorf("%s: nothing is told of the failure after a restart", what)
			}
			sign.fail.Store(false)
			w.settle(6 * time.Minute)
			serial("it works after a while", 105)
			w.stop()
			w.settle(signedFor)
			sign.fail.Store(true)
			w.startWith(options)
			w.load(source)
			serial("started when its signatures have expired, and it fails", 0)
			sign.fail.Store(false)
			w.load(source)
			w.settle(6 * time.Minute)
			serial("loaded, and it works again", 106)
			other := &counting{t: t, kind: "two"}
			source.Signer = other
			w.load(source)
			serial("signed otherwise", 107)
			source.Signer = nil
			w.load(source)
			serial("not signed any more", 1)
			broken := &counting{t: t, kind: "three"}
			broken.fail.Store(true)
			source.Signer = broken
			w.load(source)
			serial("to be signed again, which fails", 1)
			source.Signer = nil
			w.load(source)
			serial("and not after all", 1)
			w.settle(3 * time.Hour)
			if n := other.calls.Load(); n != 1 {
				t.Errorf("%s: signed %d times, and not once", what, n)
			}
		})
	}
}
