package app_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/signer"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
)

// version returns the zone test. as it is served, verified.
func (r *running) version(at time.Time) *zone.Zone {
	r.Helper()
	var text bytes.Buffer
	if err := r.Export("test.", "", &text); err != nil {
		r.Fatal(err)
	}
	apex, err := wire.ParseName("test.")
	if err != nil {
		r.Fatal(err)
	}
	b := zone.NewBuilder(apex, 1)
	var rec zone.Record
	if _, err := zonefile.Read(&text, zonefile.Options{Origin: apex, Name: "export"}, func(z *zonefile.Record) error {
		rec.Owner, rec.Type, rec.TTL, rec.Data = z.Owner, z.Type, z.TTL, z.Data
		b.Add(&rec)
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	z, problems := b.Build()
	if z == nil {
		r.Fatal(problems)
	}
	v, err := signer.Verify(z, signer.VerifyOptions{Now: at})
	if err != nil || !v.Good() {
		r.Fatalf("serial %d: %v, %v", z.Serial(), err, v)
	}
	return z
}

// first returns the data of the first record of a type at the apex.
func first(z *zone.Zone, t wire.Type) []byte {
	set, ok := z.RRset(z.Root(), t)
	if !ok {
		return nil
	}
	return bytes.Clone(set.Data())
}

func (r *running) keyFiles() []string {
	r.Helper()
	list, err := filepath.Glob(filepath.Join(r.dir, "state", "keys", "test", "K*"))
	if err != nil {
		r.Fatal(err)
	}
	return list
}

// TestSignedZone has one word sign a zone: keys are made for their owner alone, what is served is
// good, an update and a new file are signed, a restart renews nothing, and the serial goes on.
func TestSignedZone(t *testing.T) {
	r := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	r.end()
	conf := func(sign string) {
		r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\nmetrics: {listen: off}\nstate_dir: state\n"+keysYAML+
			"dnssec_policies: [{name: split, keys: split, algorithm: ed25519, denial: nsec3, zonemd: true}]\n"+
			"zones: [{name: test, file: test.zone, "+sign+"updates: [{key: ddns, names: [\"*\"]}]}]\n")
	}
	conf("dnssec: {sign: true}, ")
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	one := r.version(now)
	key := first(one, wire.TypeDNSKEY)
	files := r.keyFiles()
	if len(files) != 2 || one.Serial() != 1 {
		t.Fatalf("serial %d, key files %v", one.Serial(), files)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || strings.HasSuffix(f, ".private") && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	st, err := r.Status("test.", "")
	if err != nil {
		t.Fatal(err)
	}
	if s := st.(app.Status).Zones[0].Signing; s == nil || len(s.Keys) != 1 || s.UnsignedSerial != 1 || s.Expires.Before(now.Add(4*24*time.Hour)) || s.Next.Before(now) || s.LastError != "" {
		t.Errorf("status %+v", s)
	}

	r.update(1, "host")
	two := r.version(now)
	if two.Serial() != 2 || !bytes.Equal(first(two, wire.TypeDNSKEY), key) {
		t.Errorf("after an update: serial %d, another key: %v", two.Serial(), !bytes.Equal(first(two, wire.TypeDNSKEY), key))
	}
	r.end()
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	if three := r.version(now); three.Fingerprint() != two.Fingerprint() {
		t.Errorf("after a restart: serial %d, and other records", three.Serial())
	}

	// Another policy: the same zone is signed otherwise, with a serial of its own.
	conf("dnssec: {policy: split}, ")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	four := r.version(now)
	if four.Serial() != 3 || !four.HasNSEC3() || first(four, wire.TypeZONEMD) == nil || !bytes.Equal(first(four, wire.TypeDNSKEY), key) {
		t.Errorf("after another policy: serial %d, NSEC3 %v", four.Serial(), four.HasNSEC3())
	}

	// A key that is lost is not replaced: the version before goes on.
	lost := strings.TrimSuffix(strings.TrimSuffix(files[0], ".key"), ".private")
	for _, end := range []string{".key", ".private"} {
		if err := os.Rename(lost+end, filepath.Join(r.dir, "kept"+end)); err != nil {
			t.Fatal(err)
		}
	}
	reply := r.exchange("127.0.0.1:0", sign(&ddns, update(2, "more"), time.Now()))
	if rcode := wire.Rcode(reply[3] & 15); rcode != wire.ServFail {
		t.Errorf("an update that cannot be signed: %s", rcode)
	}
	if five := r.version(now); five.Fingerprint() != four.Fingerprint() || slices.Contains(r.keyFiles(), lost+".key") {
		t.Errorf("without its key: serial %d, key files %v", five.Serial(), r.keyFiles())
	}
	for _, end := range []string{".key", ".private"} {
		if err := os.Rename(filepath.Join(r.dir, "kept"+end), lost+end); err != nil {
			t.Fatal(err)
		}
	}
	r.update(3, "more")
	if six := r.version(now); six.Serial() != 4 {
		t.Errorf("with its key again: serial %d", six.Serial())
	}

	// Without the word, the zone is served as it is.
	conf("")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.Export("test.", "", &text); err != nil || strings.Contains(text.String(), "RRSIG") {
		t.Errorf("unsigned: %v\n%s", err, text.String())
	}
}
