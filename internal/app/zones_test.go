package app_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/console"
	"port53/internal/dnstest"
	"port53/internal/lab"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

var (
	xfr   = tsig.Key{Name: []byte("\x03xfr\x00"), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789abcdef")}
	ddns  = tsig.Key{Name: []byte("\x04ddns\x00"), Algorithm: tsig.HMACSHA256, Secret: []byte("0123456789ABCDEF")}
	wrong = tsig.Key{Name: xfr.Name, Algorithm: tsig.HMACSHA256, Secret: []byte("another secret..")}
	other = tsig.Key{Name: []byte("\x05other\x00"), Algorithm: tsig.HMACSHA256, Secret: xfr.Secret}
)

// What follows the example's configuration: two keys with the secrets above.
const keysYAML = `keys:
  - {name: xfr, secret: MDEyMzQ1Njc4OWFiY2RlZg==}
  - {name: ddns, secret: MDEyMzQ1Njc4OUFCQ0RFRg==}
`

// exchange sends a message over TCP from an address and returns the first reply.
func (r *running) exchange(from string, msg []byte) []byte {
	r.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), Timeout: 2 * time.Second}
	conn, err := d.Dial("tcp", r.Addrs()[0].String())
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		r.Fatal(err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		r.Fatal(err)
	}
	reply := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		r.Fatal(err)
	}
	return reply
}

func sign(k *tsig.Key, msg []byte, at time.Time) []byte {
	msg, _ = tsig.SignRequest(k, msg, at)
	return msg
}

// truncated leaves half of a signature.
func truncated(msg []byte) []byte {
	mac := len(msg) - 6 - 32
	binary.BigEndian.PutUint16(msg[mac-2:], 16)
	length := mac - 10 - len("\x0bhmac-sha256\x00") - 2
	binary.BigEndian.PutUint16(msg[length:], binary.BigEndian.Uint16(msg[length:])-16)
	return append(msg[:mac+16:mac+16], msg[mac+32:]...)
}

var zoneName = []byte("\x04test\x00")

// id makes messages that differ.
func message(id uint16, opcode wire.Opcode, t wire.Type) []byte {
	return wire.AppendQuery(nil, id, uint16(opcode)<<11, zoneName, t)
}

// update is a message that adds an address.
func update(id uint16, name string) []byte { return updateOf(zoneName, id, name) }

func updateOf(apex []byte, id uint16, name string) []byte {
	msg := wire.AppendQuery(nil, id, uint16(wire.OpcodeUpdate)<<11, apex, wire.TypeSOA)
	owner := append(append([]byte{byte(len(name))}, name...), apex...)
	msg = zone.AppendRecord(msg, owner, wire.TypeA, 60, []byte{192, 0, 2, 7})
	msg[9] = 1
	return msg
}

// TestWhoMayTransferAndUpdate has everybody who may not try it, each way.
func TestWhoMayTransferAndUpdate(t *testing.T) {
	r := startZones(t, `  - {name: test, file: test.zone, allow_transfer: [127.0.0.2], tsig: xfr, updates: [{key: ddns, names: ["*.dyn.test", "one.test"], types: [A]}]}
`)
	now := time.Now()
	axfr := func() []byte { return message(1, wire.OpcodeQuery, wire.TypeAXFR) }
	good := sign(&ddns, update(7, "one"), now)
	const refused, notAuth, formErr = "REFUSED", "NOTAUTH", "FORMERR"
	for _, s := range []struct {
		what, from string
		msg        []byte
		want       string
	}{
		{"a transfer", "127.0.0.2:0", sign(&xfr, axfr(), now), "NOERROR"},
		{"a transfer, clocks nearly too far apart", "127.0.0.2:0", sign(&xfr, axfr(), now.Add(-290*time.Second)), "NOERROR"},
		{"from an address that is not listed", "127.0.0.1:0", sign(&xfr, axfr(), now), refused},
		{"not signed", "127.0.0.2:0", axfr(), refused},
		{"by a key of another use", "127.0.0.2:0", sign(&ddns, axfr(), now), refused},
		{"by a key that is not known", "127.0.0.2:0", sign(&other, axfr(), now), notAuth},
		{"with another secret", "127.0.0.2:0", sign(&wrong, axfr(), now), notAuth},
		{"too late", "127.0.0.2:0", sign(&xfr, axfr(), now.Add(-time.Hour)), notAuth},
		{"too early", "127.0.0.2:0", sign(&xfr, axfr(), now.Add(time.Hour)), notAuth},
		{"with half a signature", "127.0.0.2:0", truncated(sign(&xfr, axfr(), now)), notAuth},
		{"differences, not signed", "127.0.0.2:0", message(1, wire.OpcodeQuery, wire.TypeIXFR), refused},
		{"NOTIFY for a zone that is primary here", "127.0.0.2:0", sign(&xfr, message(1, wire.OpcodeNotify, wire.TypeSOA), now), refused},
		{"an update", "127.0.0.1:0", good, "NOERROR"},
		{"the same again", "127.0.0.1:0", good, notAuth},
		{"an update that is not signed", "127.0.0.1:0", update(8, "one"), refused},
		{"by the key of transfers", "127.0.0.1:0", sign(&xfr, update(9, "one"), now), refused},
		{"of a name that was not granted", "127.0.0.1:0", sign(&ddns, update(10, "two"), now), refused},
		{"with a secret that is not the key's", "127.0.0.1:0", sign(&wrong, update(11, "one"), now), notAuth},
		{"of no known form", "127.0.0.1:0", sign(&ddns, message(12, wire.OpcodeUpdate, wire.TypeA), now), formErr},
	} {
		reply := r.exchange(s.from, s.msg)
		rcode := wire.Rcode(reply[3] & 15).String()
		records := binary.BigEndian.Uint16(reply[6:])
		if rcode != s.want || rcode != "NOERROR" && records > 0 {
			t.Errorf("%s: %s with %d records, want %s", s.what, rcode, records, s.want)
		}
		// Who is refused for the address or the right hears it signed; who has no key,
		// does not.
		signed := binary.BigEndian.Uint16(reply[10:]) > 0
		if was := binary.BigEndian.Uint16(s.msg[10:]) > 0; signed != was {
			t.Errorf("%s: the reply has TSIG: %v", s.what, signed)
		}
	}
	r.want("one.test. A", "192.0.2.7")
	// While the zone is frozen its file can be edited, and counts afterwards.
	if _, err := r.Zone("freeze", "test.", ""); err != nil {
		t.Fatal(err)
	}
	if reply := r.exchange("127.0.0.1:0", sign(&ddns, update(20, "one"), now.Add(time.Second))); wire.Rcode(reply[3]&15) != wire.Refused {
		t.Error("an update of a frozen zone was taken")
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "test.zone"))
	if err != nil || !strings.Contains(string(text), "one.test.\t60\tIN\tA\t192.0.2.7\n") {
		t.Errorf("the zone file: %v\n%s", err, text)
	}
	r.write("test.zone", strings.NewReplacer(" 2 7200", " 20 7200", "192.0.2.7", "192.0.2.77").Replace(string(text)))
	if _, err := r.Zone("thaw", "test.", ""); err != nil {
		t.Fatal(err)
	}
	r.want("one.test. A", "192.0.2.77")
	if reply := r.exchange("127.0.0.1:0", sign(&ddns, update(21, "one"), now.Add(2*time.Second))); wire.Rcode(reply[3]&15) != wire.NoError {
		t.Error("an update was not taken after thawing")
	}
	r.want("one.test. A", "192.0.2.7")
	if serial := r.serial("test."); serial != 21 {
		t.Errorf("serial %d", serial)
	}
}

// TestKeysByDirection has a zone that is changed, and given away, by keys and addresses of
// their own: external-dns transfers it with the key that it updates it with, beside the
// secondaries and one that cannot sign.
func TestKeysByDirection(t *testing.T) {
	r := startZones(t, `  - {name: test, file: test.zone, secondaries: [127.0.0.2], tsig: [xfr], allow_transfer: [{key: ddns}, {address: 127.0.0.9}], updates: [{key: ddns, names: ["*"]}]}
`)
	now := time.Now()
	axfr := func(id uint16) []byte { return message(id, wire.OpcodeQuery, wire.TypeAXFR) }
	for i, s := range []struct {
		what, from string
		key        *tsig.Key
		want       wire.Rcode
	}{
		{"a secondary", "127.0.0.2:0", &xfr, wire.NoError},
		{"a secondary, unsigned", "127.0.0.2:0", nil, wire.Refused},
		{"its key, from elsewhere", "127.0.0.1:0", &xfr, wire.Refused},
		{"the key of updates", "127.0.0.1:0", &ddns, wire.NoError},
		{"the key of updates, from the secondary", "127.0.0.2:0", &ddns, wire.NoError},
		{"an address alone", "127.0.0.9:0", nil, wire.NoError},
		{"nothing", "127.0.0.1:0", nil, wire.Refused},
	} {
		msg := axfr(uint16(i))
		if s.key != nil {
			msg = sign(s.key, msg, now)
		}
		if got := wire.Rcode(r.exchange(s.from, msg)[3] & 15); got != s.want {
			t.Errorf("%s: %s, want %s", s.what, got, s.want)
		}
	}
}

// TestAudit has updates, transfers and notifications that are taken and that are not, and
// commands: each leaves one line, and is counted.
func TestAudit(t *testing.T) {
	r := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	r.end()
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\nstate_dir: state\nmetrics: {listen: \"127.0.0.1:0\"}\n"+keysYAML+
		"control: {socket: control.sock}\npolicy: {deny: [127.0.0.7]}\nzones:\n  - {name: test, file: test.zone, allow_transfer: [{key: xfr}], updates: [{key: ddns, names: [\"*\"]}]}\n")
	logs := &lockedBuffer{}
	if err := r.serve(logs); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	late := now.Add(-time.Hour)
	axfr := func(id uint16) []byte { return message(id, wire.OpcodeQuery, wire.TypeAXFR) }
	for i, s := range []struct {
		msg  []byte
		want string
	}{
		{sign(&ddns, update(1, "one"), now), `update accepted" zone=test. peer=127.0.0.1:PORT key=ddns. serial_before=1 serial=2 added=1 removed=0`},
		{sign(&ddns, update(2, "one"), now), `update accepted" zone=test. peer=127.0.0.1:PORT key=ddns. serial_before=2 serial=2 added=0 removed=0`},
		{update(3, "two"), `update refused" zone=test. peer=127.0.0.1:PORT reason="it has no TSIG signature, and the address alone is not enough"`},
		{sign(&xfr, update(4, "two"), now), `update refused" zone=test. peer=127.0.0.1:PORT key=xfr. reason="the key may not, from this address"`},
		{sign(&other, update(5, "two"), now), `update refused" zone=test. peer=127.0.0.1:PORT key=other. reason="BADKEY: `},
		{sign(&ddns, update(6, "two"), late), `update refused" zone=test. peer=127.0.0.1:PORT key=ddns. reason="BADTIME: `},
		{sign(&wrong, axfr(7), now), `transfer refused" zone=test. what=AXFR peer=127.0.0.1:PORT key=xfr. reason="BADSIG: `},
		{sign(&ddns, updateOf([]byte("\x05other\x00"), 8, "two"), now), `update refused" zone=other. peer=127.0.0.1:PORT key=ddns. reason="no zone of that name is served here"`},
		{sign(&ddns, message(9, wire.OpcodeUpdate, wire.TypeA), now), `update refused" zone=test. peer=127.0.0.1:PORT key=ddns. reason="FORMERR: `},
		{sign(&xfr, axfr(10), now), `transfer accepted" zone=test. what=AXFR peer=127.0.0.1:PORT key=xfr. serial=2 octets=`},
		{axfr(11), `transfer refused" zone=test. what=AXFR peer=127.0.0.1:PORT reason="it has no TSIG signature, and the address alone is not enough"`},
		{message(12, wire.OpcodeNotify, wire.TypeSOA), `notification refused" zone=test. peer=127.0.0.1:PORT reason=`},
		{sign(&wrong, message(13, wire.OpcodeQuery, wire.TypeA), now), `signed query refused" zone=test. peer=127.0.0.1:PORT key=xfr. reason="BADSIG: `},
		{sign(&ddns, update(14, "three"), now), `update refused" zone=test. peer=127.0.0.7:PORT key=ddns. reason="its address may not query this server"`},
		{sign(&xfr, axfr(15), now), `transfer refused" zone=test. what=AXFR peer=127.0.0.7:PORT key=xfr. reason="its address may not query this server"`},
		{message(16, wire.OpcodeNotify, wire.TypeSOA), `notification refused" zone=test. peer=127.0.0.7:PORT reason="its address may not query this server"`},
	} {
		from := "127.0.0.1:0"
		if strings.Contains(s.want, "127.0.0.7") {
			from = "127.0.0.7:0"
			r.exchange(from, message(99, wire.OpcodeQuery, wire.TypeA)) // which is no deed, and leaves no line
		}
		r.exchange(from, s.msg)
		want := regexp.MustCompile(`level=INFO msg="audit: ` + strings.Replace(regexp.QuoteMeta(s.want), "PORT", `\d+`, 1))
		until(t, s.want, logs.String, func() bool { return want.MatchString(logs.String()) })
		if n := strings.Count(logs.String(), `msg="audit: `); n != i+1 {
			t.Errorf("%d lines after %d messages:\n%s", n, i+1, logs.String())
		}
	}
	changes, err := r.Changes("test.", "", "")
	if list, ok := changes.([]zones.Change); err != nil || !ok || len(list) != 1 || list[0].By != "key ddns. from 127.0.0.1" {
		t.Errorf("%v: who changed the zone: %+v", err, changes)
	}
	socket := filepath.Join(r.dir, "control.sock")
	for what, path := range map[string]string{"accepted": "/zone/sync?zone=test.", "refused": "/zone/refresh?zone=test."} {
		if err := console.Call(t.Context(), socket, "POST", path, nil); (err == nil) != (what == "accepted") {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`msg="audit: command %s" zone=test. what=%s by="uid %d, pid %d"`, what, path[1:strings.Index(path, "?")], os.Getuid(), os.Getpid())
		until(t, want, logs.String, func() bool { return strings.Contains(logs.String(), want) })
	}
	resp, err := http.Get("http://" + r.Metrics().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	metrics := string(body)
	for _, want := range []string{
		`port53_updates_total{result="accepted"} 2`, `port53_updates_total{result="refused"} 7`, `port53_transfers_total{result="accepted"} 1`,
		`port53_transfers_total{result="refused"} 3`, `port53_notifies_total{result="refused"} 2`, `port53_tsig_errors_total{error="badsig"} 2`,
		`port53_commands_total{result="accepted"} 1`, `port53_commands_total{result="refused"} 1`, `port53_tsig_errors_total{error="badkey"} 1`, `port53_tsig_errors_total{error="badtime"} 1`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// startZones is start with zones of its own.
func startZones(t *testing.T, zones string) *running {
	t.Helper()
	r := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	r.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\n%szones:\n%s", r.Addrs()[0].String(), keysYAML, zones))
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// serial returns the serial that a zone is served with, or 0.
func (r *running) serial(name string) uint32 {
	r.Helper()
	st, err := r.Status(name, "")
	if err != nil {
		return 0
	}
	return st.(app.Status).Zones[0].Serial
}

// status returns what the server says of a zone.
func (r *running) trouble(name string) string {
	st, err := r.Status(name, "")
	if err != nil {
		return err.Error()
	}
	return st.(app.Status).Zones[0].LastError
}

// patience is for what a busy machine needs time for.
const patience = 2 * time.Minute

// until waits for a condition that no event tells of.
func until(t *testing.T, what string, said func() string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; %s", what, patience, said())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestSecondary follows a primary through changes, one of which was tampered with on its
// way, and NOTIFY of strangers.
func TestSecondary(t *testing.T) {
	primary := startZones(t, "  - {name: test, file: test.zone, allow_transfer: [127.0.0.1], insecure: true}\n")
	secondary := startZones(t, fmt.Sprintf("  - {name: test, primaries: [%q], insecure: true, allow_transfer: [127.0.0.1]}\n", primary.Addrs()[0].String()))
	said := func() string { return secondary.trouble("test.") }
	until(t, "the first version", said, func() bool { return secondary.serial("test.") == 1 })

	// A stranger's NOTIFY, from an address that is no primary's, is refused.
	reply := secondary.exchange("127.0.0.9:0", message(5, wire.OpcodeNotify, wire.TypeSOA))
	if rcode := wire.Rcode(reply[3] & 15); rcode != wire.Refused {
		t.Errorf("a stranger's NOTIFY: %s", rcode)
	}
	change := func(serial int, more string) {
		t.Helper()
		primary.write("test.zone", fmt.Sprintf(zoneText, serial, serial)+more)
		if _, err := primary.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		reply := secondary.exchange("127.0.0.1:0", message(6, wire.OpcodeNotify, wire.TypeSOA))
		if rcode := wire.Rcode(reply[3] & 15); rcode != wire.NoError {
			t.Fatalf("the primary's NOTIFY: %s", rcode)
		}
	}
	change(2, "")
	until(t, "the second version", said, func() bool { return secondary.serial("test.") == 2 })

	// A digest that is not the zone's: the version before goes on, and the reason is told.
	change(3, "@ ZONEMD 3 1 1 "+strings.Repeat("ab", 48)+"\n")
	until(t, "the reason", said, func() bool { return strings.Contains(secondary.trouble("test."), "ZONEMD") })
	if serial := secondary.serial("test."); serial != 2 {
		t.Errorf("serial %d is served", serial)
	}
	secondary.want("ns.test. A", "192.0.2.2")
	change(4, "")
	until(t, "the fourth version", said, func() bool { return secondary.serial("test.") == 4 && secondary.trouble("test.") == "" })
}

// TestPeersMayAsk has a server for a few clients, of whom the peers of a transfer are
// none: they get the zone nevertheless.
func TestPeersMayAsk(t *testing.T) {
	r := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	r.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\npolicy: {allow: [10.0.0.0/8]}\n%szones:\n  - {name: test, file: test.zone, secondaries: [127.0.0.2], tsig: xfr}\n",
		r.Addrs()[0].String(), keysYAML))
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[string]wire.Rcode{"127.0.0.2:0": wire.NoError, "127.0.0.3:0": wire.Refused} {
		reply := r.exchange(from, sign(&xfr, message(1, wire.OpcodeQuery, wire.TypeAXFR), time.Now()))
		if rcode := wire.Rcode(reply[3] & 15); rcode != want {
			t.Errorf("a transfer to %s: %s", from, rcode)
		}
	}
	r.want("ns.test. A", "REFUSED")
}

// datagram sends a message over UDP from a socket, twice if it is to be sent again, and
// returns the last reply.
func (r *running) datagram(times int, msg []byte) []byte {
	r.Helper()
	conn, err := net.Dial("udp", r.Addrs()[0].String())
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, wire.MaxMessage)
	n := 0
	for range times {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err = conn.Write(msg); err == nil {
			n, err = conn.Read(buf)
		}
		if err != nil {
			r.Fatal(err)
		}
	}
	return buf[:n]
}

// TestLostReply sends an update again from the same socket, as a client does that had no
// reply: it hears what became of the first.
func TestLostReply(t *testing.T) {
	r := startZones(t, "  - {name: test, file: test.zone, updates: [{key: ddns, names: [\"*\"]}]}\n")
	msg := sign(&ddns, update(1, "one"), time.Now())
	reply := r.datagram(3, msg)
	if rcode := wire.Rcode(reply[3] & 15); rcode != wire.NoError {
		t.Errorf("sent again from the same socket: %s", rcode)
	}
	if rcode := wire.Rcode(r.datagram(1, msg)[3] & 15); rcode != wire.NotAuth {
		t.Errorf("sent again from another socket: %s", rcode)
	}
	if serial := r.serial("test."); serial != 2 {
		t.Errorf("serial %d after one update", serial)
	}
}

// TestForwardedUpdate sends updates to a secondary that forwards them, by a key which the
// primary alone knows, and by one that nobody does.
func TestForwardedUpdate(t *testing.T) {
	primary := startZones(t, "  - {name: test, file: test.zone, allow_transfer: [127.0.0.1], insecure: true, updates: [{key: ddns, names: [\"*\"]}]}\n")
	between := start(t, "metrics: {listen: off}\nstate_dir: state\n")
	between.write("port53.yaml", fmt.Sprintf("role: authoritative\nlisten: [%q]\nstate_dir: state\nmetrics: {listen: off}\nzones:\n  - {name: test, primaries: [%q], insecure: true, forward_updates: true}\n",
		between.Addrs()[0].String(), primary.Addrs()[0].String()))
	if _, err := between.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		what string
		key  *tsig.Key
		want wire.Rcode
	}{{"the primary's key", &ddns, wire.NoError}, {"nobody's key", &other, wire.NotAuth}} {
		msg, v := tsig.SignRequest(s.key, update(9, "two"), time.Now())
		reply := between.exchange("127.0.0.1:0", msg)
		if rcode := wire.Rcode(reply[3] & 15); rcode != s.want {
			t.Errorf("%s: %s", s.what, rcode)
		}
		if err := v.Verify(reply, time.Now()); (err == nil) != (s.want == wire.NoError) {
			t.Errorf("%s: %v", s.what, err)
		}
	}
	if reply := between.exchange("127.0.0.1:0", update(10, "three")); wire.Rcode(reply[3]&15) != wire.Refused {
		t.Error("an update that is not signed was forwarded")
	}
	primary.want("two.test. A", "192.0.2.7")
	primary.want("three.test. A", "")
}

// TestLongKeyName signs with a key and an algorithm whose names are as long as names may
// be: the error fits into what everybody takes over UDP.
func TestLongKeyName(t *testing.T) {
	r := startZones(t, "  - {name: test, file: test.zone}\n")
	long := append([]byte(strings.Repeat("\x3f"+strings.Repeat("k", 63), 3)), append([]byte("\x3d"+strings.Repeat("k", 61)), 0)...)
	msg := message(1, wire.OpcodeQuery, wire.TypeSOA)
	msg[11] = 1
	msg = append(append(msg, long...), 0, 250, 0, 255, 0, 0, 0, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(long)+16+32))
	msg = append(append(msg, long...), make([]byte, 8)...)
	binary.BigEndian.PutUint32(msg[len(msg)-6:], uint32(time.Now().Unix()))
	msg = append(append(msg, 0, 32), make([]byte, 32+6)...)
	reply := r.datagram(1, msg)
	if rcode := wire.Rcode(reply[3] & 15); len(reply) > wire.MinUDP || rcode != wire.NotAuth || reply[2]&2 == 0 {
		t.Errorf("%d octets, %s, flags %x", len(reply), rcode, reply[2])
	}
	if reply := r.exchange("127.0.0.1:0", msg); len(reply) <= wire.MinUDP || reply[11] != 1 {
		t.Errorf("over TCP: %d octets with %d additional records", len(reply), reply[11])
	}
}

// TestExpireOption asks for EXPIRE (RFC 7314) at a primary and at its secondary.
func TestExpireOption(t *testing.T) {
	primary := startZones(t, "  - {name: test, file: test.zone, allow_transfer: [127.0.0.1], insecure: true}\n")
	secondary := startZones(t, fmt.Sprintf("  - {name: test, primaries: [%q], insecure: true, allow_transfer: [127.0.0.1]}\n", primary.Addrs()[0].String()))
	until(t, "the zone", func() string { return secondary.trouble("test.") }, func() bool { return secondary.serial("test.") == 1 })
	for who, r := range map[string]*running{"primary": primary, "secondary": secondary} {
		for _, typ := range []wire.Type{wire.TypeSOA, wire.TypeAXFR} {
			q := wire.AppendOPT(message(1, wire.OpcodeQuery, typ), 1232, false, []byte{0, wire.OptionExpire, 0, 0})
			q[11] = 1
			var m wire.Message
			if m.Parse(r.exchange("127.0.0.1:0", q)) != 0 {
				t.Fatal("no reply")
			}
			d, ok := m.Option(wire.OptionExpire)
			if !ok || len(d) != 4 {
				t.Errorf("%s, %s: EXPIRE %x", who, typ, d)
				continue
			}
			all := binary.BigEndian.Uint32(m.Records[0].Data[len(m.Records[0].Data)-8:])
			if left := binary.BigEndian.Uint32(d); left > all || left+10 < all || who == "primary" && left != all {
				t.Errorf("%s, %s: %d s of %d", who, typ, left, all)
			}
		}
	}
}

// TestWhoMayAskForAZone serves a zone to some clients beside one for everyone. Unless all who
// may use recursion may ask for it, nobody gets at it by an alias.
func TestWhoMayAskForAZone(t *testing.T) {
	net := lab.NewNet(lab.Options{Seed: 53})
	net.Handle(netip.MustParseAddrPort("192.0.2.1:53"), forwarder(1)) // it knows all names
	r := &running{T: t, dir: t.TempDir(), reload: make(chan os.Signal, 1), done: make(chan error, 1)}
	const head = "$TTL 60\n@ SOA ns admin 1 7200 600 86400 60\n@ NS ns\nns A 192.0.2.1\n"
	r.write("open.zone", head+"www A 192.0.2.80\nalias CNAME www.inside.corp.\n")
	r.write("inside.zone", head+"www A 192.0.2.81\n")
	listen := `"127.0.0.1:0"`
	conf := func(allow string) string {
		return "role: internal-resolver\nlisten: [" + listen + "]\nmetrics: {listen: off}\nstate_dir: state\n" + `policy: {allow: [127.0.0.0/8]}
resolver: {validation: false, allow: [127.0.0.1, 127.0.0.2], forward: [{zone: ., to: [192.0.2.1]}]}
zones:
  - {name: open.corp, file: open.zone}
  - {name: inside.corp, file: inside.zone, allow_query: [` + allow + "]}\n"
	}
	r.run(net, conf("127.0.0.1"))
	listen = fmt.Sprintf("%q", r.Addrs()[0].String())
	want := func(from, name, want string) {
		t.Helper()
		reply := r.exchange(from+":0", wire.AppendQuery(nil, 1, wire.FlagRD, dnstest.Name(t, name), wire.TypeA))
		text, err := dnstest.Format(reply)
		if err != nil || !strings.Contains(text, want) {
			t.Errorf("%s asks for %s: %q, %v, want %s", from, name, text, err, want)
		}
	}
	for _, from := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		want(from, "www.open.corp.", "192.0.2.80")
	}
	want("127.0.0.1", "www.inside.corp.", "192.0.2.81")
	want("127.0.0.2", "www.inside.corp.", "REFUSED")
	want("127.0.0.3", "www.inside.corp.", "REFUSED")
	want("127.0.0.1", "alias.open.corp.", "198.51.100.1")
	want("127.0.0.2", "alias.open.corp.", "198.51.100.1")
	r.write("port53.yaml", conf("127.0.0.1, 127.0.0.2"))
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	want("127.0.0.2", "alias.open.corp.", "192.0.2.81")
	want("127.0.0.2", "www.inside.corp.", "192.0.2.81")
	want("127.0.0.3", "www.inside.corp.", "REFUSED")
}

// A lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
