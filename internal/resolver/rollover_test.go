package resolver_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"port53/internal/cache"
	"port53/internal/dnssec"
	"port53/internal/resolver"
	"port53/internal/upstream"
	"port53/internal/wire"
)

// A ring is the keys of the root, and makes their set signed by some of them.
type ring map[string]*dnssec.Signer

func (r ring) key(t *testing.T, name string) *dnssec.Signer {
	if r[name] == nil {
		k, err := dnssec.GenerateKey(wire.Root, dnssec.ED25519, dnssec.FlagZone|dnssec.FlagSEP)
		if err != nil {
			t.Fatal(err)
		}
		r[name] = k
	}
	return r[name]
}

// set returns the DNSKEY set of the keys named, a minus before those that are revoked,
// signed by all of them.
func (r ring) set(t *testing.T, now time.Time, names ...string) *wire.RRset {
	t.Helper()
	s := &wire.RRset{Owner: wire.Root, Type: wire.TypeDNSKEY, TTL: 3600}
	var signers []*dnssec.Signer
	for _, n := range names {
		n, revoked := strings.CutPrefix(n, "-")
		k := r.key(t, n)
		if revoked {
			var err error
			if k, err = dnssec.NewSigner(wire.Root, dnssec.ED25519, dnssec.FlagZone|dnssec.FlagSEP|dnssec.FlagRevoke, k.Private); err != nil {
				t.Fatal(err)
			}
		}
		s.Data = append(s.Data, k.Key.Data)
		signers = append(signers, k)
	}
	for _, k := range signers {
		sig, err := k.Sign(s, uint32(now.Unix())-60, uint32(now.Unix())+86400)
		if err != nil {
			t.Fatal(err)
		}
		s.Sigs = append(s.Sigs, sig)
	}
	return s
}

// trusted returns the names of the keys that are trusted.
func (r ring) trusted(t *testing.T, ro *resolver.Rollover) string {
	t.Helper()
	found := ""
	for _, n := range []string{"old", "new", "next"} {
		k := r[n]
		if k == nil {
			continue
		}
		for _, a := range ro.Anchors() {
			ok := false
			for _, d := range a.DS {
				ok = ok || dnssec.MatchDS(d, a.Zone, k.Key.Data)
			}
			for _, d := range a.Keys {
				ok = ok || string(d) == string(k.Key.Data)
			}
			if ok {
				found += n + " "
			}
		}
	}
	return found
}

// TestRollover has the life of a trust anchor (RFC 5011, section 4), with a restart
// after each step, as if the process had been killed.
func TestRollover(t *testing.T) {
	keys := ring{}
	ds, _ := dnssec.AppendDS(nil, wire.Root, keys.key(t, "old").Key.Data, dnssec.DigestSHA256)
	configured := []resolver.Anchor{{Zone: wire.Root, DS: [][]byte{ds}}}
	file := filepath.Join(t.TempDir(), "anchors.json")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, s := range []struct {
		what    string
		after   time.Duration
		keys    []string
		trusted string
		changed bool
	}{
		{"the key of the configuration is seen", 0, []string{"old"}, "old ", true},
		{"a new key is there", day, []string{"old", "new"}, "old ", false},
		{"29 days later it is not trusted yet", 29 * day, []string{"old", "new"}, "old ", false},
		{"another new key comes and", 0, []string{"old", "new", "next"}, "old ", false},
		{"goes again, before its time", day / 2, []string{"old", "new"}, "old ", false},
		{"30 days after it came the first is trusted", day / 2, []string{"old", "new"}, "old new ", true},
		{"the key that went away starts over", day, []string{"old", "new", "next"}, "old new ", false},
		{"and is not trusted 29 days later", 29 * day, []string{"old", "new", "next"}, "old new ", false},
		{"a key that is missing is still trusted", day / 2, []string{"old", "next"}, "old new ", false},
		{"and comes back", 0, []string{"old", "new", "next"}, "old new ", false},
		{"the third has had its time", day, []string{"old", "new", "next"}, "old new next ", true},
		{"the old key is revoked", day, []string{"-old", "new", "next"}, "new next ", true},
		{"and stays so, even if it comes back", day, []string{"old", "new", "next"}, "new next ", false},
	} {
		now = now.Add(s.after)
		ro, err := resolver.OpenRollover(file, configured)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := ro.Observe(wire.Root, keys.set(t, now, s.keys...), now)
		if err != nil || changed != s.changed {
			t.Errorf("%s: changed %v, %v", s.what, changed, err)
		}
		for _, from := range []string{"before", "after"} {
			if got := keys.trusted(t, ro); got != s.trusted {
				t.Errorf("%s: %s a restart %q are trusted, want %q", s.what, from, got, s.trusted)
			}
			if ro, err = resolver.OpenRollover(file, configured); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRolloverRevocationBySomebodyElse has a key with the REVOKE flag that did not sign
// the set: anybody who has another key could write that (RFC 5011, section 2.1).
func TestRolloverRevocationBySomebodyElse(t *testing.T) {
	keys := ring{}
	ds, _ := dnssec.AppendDS(nil, wire.Root, keys.key(t, "old").Key.Data, dnssec.DigestSHA256)
	ro, err := resolver.OpenRollover(filepath.Join(t.TempDir(), "anchors.json"), []resolver.Anchor{{Zone: wire.Root, DS: [][]byte{ds}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := ro.Observe(wire.Root, keys.set(t, now, "old"), now); err != nil {
		t.Fatal(err)
	}
	set := keys.set(t, now, "-old", "new")
	set.Sigs = set.Sigs[1:]
	if _, err := ro.Observe(wire.Root, set, now); err != nil {
		t.Fatal(err)
	}
	if got := keys.trusted(t, ro); got != "old " {
		t.Errorf("%q are trusted, want the key that did not revoke itself", got)
	}
}

// A keyServer is a world whose root has keys of its own.
type keyServer struct {
	*world
	keys wire.RRset
}

func (w *keyServer) Exchange(ctx context.Context, server netip.AddrPort, q *upstream.Question) (upstream.Reply, error) {
	if q.Type != wire.TypeDNSKEY {
		return w.world.Exchange(ctx, server, q)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	msg := wire.AppendQuery(nil, 1, wire.FlagQR|wire.FlagAA, q.Name, q.Type)
	count := 0
	add := func(typ wire.Type, list [][]byte) {
		for _, d := range list {
			msg = append(msg, q.Name...)
			msg = binary.BigEndian.AppendUint16(msg, uint16(typ))
			msg = binary.BigEndian.AppendUint16(msg, uint16(wire.ClassIN))
			msg = binary.BigEndian.AppendUint32(msg, w.keys.TTL)
			msg = append(binary.BigEndian.AppendUint16(msg, uint16(len(d))), d...)
			count++
		}
	}
	add(wire.TypeDNSKEY, w.keys.Data)
	add(wire.TypeRRSIG, w.keys.Sigs)
	binary.BigEndian.PutUint16(msg[6:], uint16(count))
	return upstream.Reply{Message: msg, RTT: time.Millisecond, Packets: 1}, nil
}

func (w *keyServer) serve(set *wire.RRset) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = *set
}

// TestFollow has the server of the root give keys that its anchor does not vouch for,
// while those that it does are cached: they are neither trusted nor on their way to be
// (RFC 5011, section 2.2).
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := ring{}
		ds, _ := dnssec.AppendDS(nil, wire.Root, keys.key(t, "old").Key.Data, dnssec.DigestSHA256)
		anchors := []resolver.Anchor{{Zone: wire.Root, DS: [][]byte{ds}}}
		file := filepath.Join(t.TempDir(), "anchors.json")
		ro, err := resolver.OpenRollover(file, anchors)
		if err != nil {
			t.Fatal(err)
		}
		w := &keyServer{world: small(t)}
		settings := resolver.Settings{
			Hints: []resolver.Hint{{Name: []byte("\x01a\x04root\x00"), Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}},
			IPv4:  true, Validate: true, Anchors: anchors,
		}
		r := resolver.New(resolver.Options{Cache: cache.New(cache.Options{Size: 4 << 20}), Exchanger: w}, resolver.Compile(settings))
		w.serve(keys.set(t, time.Now(), "old"))
		if got := ask(t, r, ".", wire.TypeDNSKEY); !strings.HasPrefix(got, "NOERROR; . DNSKEY 257") {
			t.Fatal(got)
		}
		var mu sync.Mutex
		failures := ""
		failed := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			failures += err.Error() + "\n"
		}
		// told returns the failures since it was called last.
		told := func() string {
			mu.Lock()
			defer mu.Unlock()
			defer func() { failures = "" }()
			return failures
		}
		trust := func(anchors []resolver.Anchor) {
			settings.Anchors = anchors
			r.Apply(resolver.Compile(settings))
		}
		r.Follow(ro, trust, failed)
		look := func(what string, after time.Duration, trusted, seen, failure string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			failures := told()
			if got := keys.trusted(t, ro); got != trusted {
				t.Errorf("%s: %q are trusted, want %q", what, got, trusted)
			}
			if !strings.Contains(failures, failure) || (failures == "") != (failure == "") {
				t.Errorf("%s: failures %q, want one with %q", what, failures, failure)
			}
			state, _ := os.ReadFile(file)
			for _, name := range []string{"old", "new"} {
				data := base64.StdEncoding.EncodeToString(keys.key(t, name).Key.Data)
				if has := bytes.Contains(state, []byte(data)); has != strings.Contains(seen, name) {
					t.Errorf("%s: key %q is in the state: %v", what, name, has)
				}
			}
		}
		kept := func(what string, ago time.Duration) {
			t.Helper()
			at, err := resolver.SavedTime(filepath.Join(filepath.Dir(file), resolver.ClockFile))
			if want := time.Now().Add(-ago).Truncate(time.Second); err != nil || ago >= 0 && !at.Equal(want) || ago < 0 && !at.IsZero() {
				t.Errorf("%s: the clock was right at %v, %v; want %v", what, at, err, want)
			}
		}
		w.serve(keys.set(t, time.Now(), "new"))
		look("another key", 11*time.Second, "old ", "", "do not validate with its trust anchors")
		kept("another key", -1)
		w.serve(keys.set(t, time.Now(), "old", "new"))
		look("both keys", time.Hour, "old ", "old new", "")
		kept("both keys", time.Second)
		w.serve(&wire.RRset{})
		look("no keys", time.Hour, "old ", "old new", "do not validate with its trust anchors")
		kept("no keys", time.Hour+time.Second)
		r.Close()
	})
}

// TestAnchorThatComesBack takes an anchor out of the configuration, and in again: its key,
// which was revoked before, stays so.
func TestAnchorThatComesBack(t *testing.T) {
	keys, now := ring{}, time.Now()
	file := filepath.Join(t.TempDir(), "anchors.json")
	open := func(anchors ...resolver.Anchor) *resolver.Rollover {
		t.Helper()
		ro, err := resolver.OpenRollover(file, anchors)
		if err != nil {
			t.Fatal(err)
		}
		return ro
	}
	root := resolver.Anchor{Zone: wire.Root, Keys: [][]byte{keys.key(t, "old").Key.Data, keys.key(t, "new").Key.Data}}
	if _, err := open(root).Observe(wire.Root, keys.set(t, now, "-old", "new"), now); err != nil {
		t.Fatal(err)
	}
	other := resolver.Anchor{Zone: []byte("\x03org\x00"), Keys: root.Keys}
	ro := open(other)
	if len(ro.Anchors()) != 1 || !bytes.Equal(ro.Anchors()[0].Zone, other.Zone) {
		t.Errorf("trusted: %v", ro.Anchors())
	}
	if _, err := ro.Observe(other.Zone, keys.set(t, now, "old"), now); err != nil {
		t.Fatal(err)
	}
	if got := keys.trusted(t, open(root)); got != "new " {
		t.Errorf("trusted: %q", got)
	}
}

// TestRolloverFile has files that were not written by it: to go on without would mean to
// trust what may have been revoked.
func TestRolloverFile(t *testing.T) {
	for text, want := range map[string]string{
		"": "unexpected end", "{": "unexpected end", "[]": "cannot unmarshal", `{"version": 2}`: "version 2, want 1",
		`{"version": 2, "later": true}`:                                                                            "version 2, want 1",
		`{"version": 1, "later": true}`:                                                                            "unknown field",
		`{"version": 1, "zones": [{"zone": "AA==", "later": 1}]}`:                                                  "unknown field",
		`{"version": 1, "zones": [null]}`:                                                                          "a zone is missing",
		`{"version": 1, "zones": [{"zone": "AQ==", "keys": []}]}`:                                                  "the name of a zone is none",
		`{"version": 1, "zones": [{"zone": "", "keys": []}]}`:                                                      "the name of a zone is none",
		`{"version": 1, "zones": [{"zone": "AA==", "keys": [{"dnskey": "AQEDDwAA", "state": "revokee"}]}]}`:        "in an unknown state",
		`{"version": 1, "zones": [{"zone": "AA==", "keys": [null]}]}`:                                              "in an unknown state",
		`{"version": 1, "zones": [{"zone": "AA==", "keys": [{"dnskey": "AQE", "state": "valid"}]}]}`:               "illegal base64",
		`{"version": 1, "zones": [{"zone": "AA==", "keys": [{"dnskey": "AQED", "state": "valid"}]}]}`:              "a key of . is none",
		`{"version": 1, "zones": [{"zone": "AA==", "keys": [{"dnskey": "AQEDDwAA", "state": "valid"}]}]} and more`: "invalid character",
	} {
		file := filepath.Join(t.TempDir(), "anchors.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := resolver.OpenRollover(file, resolver.Anchors()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: error %v, want one about %q and the file", text, err, want)
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != text {
			t.Errorf("%q: the file is %q now, %v", text, now, err)
		}
	}
	pipe := filepath.Join(t.TempDir(), "anchors.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := resolver.OpenRollover(pipe, resolver.Anchors()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a pipe: %v", err)
	}
	ro, err := resolver.OpenRollover(filepath.Join(t.TempDir(), "gone", "anchors.json"), resolver.Anchors())
	if err != nil {
		t.Fatal(err)
	}
	keys := ring{}
	if _, err := ro.Observe(wire.Root, keys.set(t, time.Now(), "new"), time.Now()); err == nil {
		t.Error("a state that could not be written was not reported")
	}
}

// TestKeptTime has files of the time that cannot be read: they say so, and no time.
func TestKeptTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), resolver.ClockFile)
	if at, err := resolver.SavedTime(file); err != nil || !at.IsZero() {
		t.Errorf("no file: %v %v", at, err)
	}
	for _, text := range []string{"", "2026-01-01T00:00:00Z\n", "port53 clock 2\n2026-01-01T00:00:00Z\n", "port53 clock 1\nsoon\n", "port53 clock 1\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if at, err := resolver.SavedTime(file); err == nil || !at.IsZero() {
			t.Errorf("%q: %v, no error", text, at)
		}
	}
}
