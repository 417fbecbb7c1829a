package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/signer"
	"port53/internal/wire"
)

// TestKeyRollAtParent has a new zone signed, its key rolled, and the zone unsigned again, with a
// parent that takes updates: its DS records are always those that the zone needs, and every version
// that is served is good.
func TestKeyRollAtParent(t *testing.T) {
	parent := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	parent.end()
	parent.write("parent.zone", "$TTL 1\n@ SOA ns admin 1 7200 3600 1209600 1\n@ NS ns\nns A 127.0.0.1\ntest NS ns\n")
	parent.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nmetrics: {listen: off}\nstate_dir: state\n"+keysYAML+
		"zones: [{name: \".\", file: parent.zone, updates: [{key: ddns, names: [test], types: [DS]}]}]\n")
	if err := parent.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	r := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	r.end()
	r.write("test.zone", "$TTL 1\n@ SOA ns admin 1 7200 3600 1209600 1\n@ NS ns\nns A 192.0.2.1\n")
	conf := func(policy string) {
		r.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\nmetrics: {listen: off}\nstate_dir: state\n"+keysYAML+
			"dnssec_policies: [{name: quick, watch: self, dnskey_ttl: 1s, propagation: 0s, parent: {check: [%q], ds_ttl: 1s, propagation: 0s, push: {to: [\"127.0.0.1:1\", %q], tsig: ddns}}}]\n"+ // nobody is at the first
			"zones: [{name: test, file: test.zone, dnssec: {policy: %s}}]\n", parent.Addrs()[0], parent.Addrs()[0], policy))
	}
	conf("quick")
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	command := func(c app.KeysCommand) *app.KeysStatus {
		t.Helper()
		body, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		st, err := r.ChangeKeys(t.Context(), "test.", "", body)
		if err != nil {
			t.Fatal(err)
		}
		return st.(*app.KeysStatus)
	}
	until := func(what string, done func(*app.KeysStatus) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(300 * time.Millisecond) {
			st := command(app.KeysCommand{Action: "look"})
			r.version(time.Now())
			if done(st) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: it does not come to that: %+v", what, st)
			}
		}
	}
	trusted := func(n int) func(*app.KeysStatus) bool {
		return func(st *app.KeysStatus) bool {
			last := st.Keys[len(st.Keys)-1]
			gone := 0
			for _, k := range st.Keys {
				if k.DNSKEY.State == signer.Hidden && k.DS.State == signer.Hidden && k.Signatures.State == signer.Hidden {
					gone++
				}
			}
			return len(st.Keys) == n && gone == n-1 && last.DS.State == signer.Omnipresent && len(st.Parent[0].DS) == 1 && len(st.Waits) == 0
		}
	}
	until("signed", trusted(1))
	command(app.KeysCommand{Action: "roll"})
	if _, err := r.ChangeKeys(t.Context(), "test.", "", []byte(`{"action":"roll"}`)); err == nil || !strings.Contains(err.Error(), "a rollover of this kind of key is under way") {
		t.Errorf("a second roll: %v", err)
	}
	until("rolled", trusted(2))
	if parent.askAt("udp", parent.Addrs()[0].String(), "test. DS") == "" {
		t.Error("the parent has no DS record")
	}
}

// TestSignedNoMore takes the word away from a zone whose parent points at it: it stays signed until
// the parent does so no more.
func TestSignedNoMore(t *testing.T) {
	r := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	r.end()
	conf := func(sign string) {
		r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\nmetrics: {listen: off}\nstate_dir: state\n"+
			"zones: [{name: test, file: test.zone"+sign+"}]\n")
	}
	conf(", dnssec: {sign: true}")
	if err := r.serve(io.Discard); err != nil {
		t.Fatal(err)
	}
	st, err := r.Keys("test.", "")
	if err != nil {
		t.Fatal(err)
	}
	tag := st.(*app.KeysStatus).Keys[0].Tag
	say := func(action string) {
		t.Helper()
		if _, err := r.ChangeKeys(t.Context(), "test.", "", fmt.Appendf(nil, `{"action":%q,"tag":%d}`, action, tag)); err != nil {
			t.Fatal(err)
		}
	}
	say("seen")
	conf("")
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	z := r.version(time.Now())
	if cds := first(z, wire.TypeCDS); string(cds) != "\x00\x00\x00\x00\x00" {
		t.Errorf("the parent is asked by %x", cds)
	}
	say("gone")
	r.version(time.Now()) // caches may have the DS record for a day
}
