package exchange_test

import (
	"encoding/binary"
	"testing"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// TestAppend builds queries of every kind, which read back as they were meant.
func TestAppend(t *testing.T) {
	q := question()
	q.Type, q.Serial, q.Flags, q.Opcode = wire.TypeIXFR, 7, wire.FlagCD|wire.FlagRD, wire.OpcodeNotify
	q.EDNS, q.Version, q.DO, q.EDNSFlags, q.UDPSize, q.Padding, q.Cookie = true, 3, true, 0x4001, 4000, 128, true
	q.Options = []exchange.Option{{Code: wire.OptionNSID}}
	raw := q.Append(nil, 99, []byte("clientck"))
	var m wire.Message
	if bad := m.Parse(raw); bad != 0 {
		t.Fatal(bad)
	}
	cookie, _ := m.Option(wire.OptionCookie)
	_, nsid := m.Option(wire.OptionNSID)
	if len(raw)%128 != 0 || m.ID != 99 || m.Opcode != wire.OpcodeNotify || m.Flags&(wire.FlagCD|wire.FlagRD|wire.FlagQR) != wire.FlagCD|wire.FlagRD ||
		m.Version != 3 || !m.DO || m.UDPSize != 4000 || string(cookie) != "clientck" || !nsid || len(m.Records) != 1 || m.Records[0].Data[5] != 7 {
		t.Errorf("%d octets: %+v", len(raw), m)
	}
	q = question()
	q.NoQuestion = true
	if raw := q.Append(nil, 1, nil); len(raw) != wire.HeaderLen {
		t.Errorf("without a question: %d octets", len(raw))
	}
}

// TestOptions reads options as far as they are whole, and no more of them than servers
// send.
func TestOptions(t *testing.T) {
	whole := []byte{0, 3, 0, 2, 'a', 'b', 0, 10, 0, 0}
	for cut := range whole {
		m := wire.Message{Options: whole[:cut]}
		want := 0
		if cut >= 6 {
			want = 1
		}
		if got := exchange.Options(&m); len(got) != want {
			t.Errorf("%d octets: %v", cut, got)
		}
	}
	got := exchange.Options(&wire.Message{Options: whole})
	if len(got) != 2 || got[0].Code != wire.OptionNSID || string(got[0].Data) != "ab" || got[1].Code != wire.OptionCookie || len(got[1].Data) != 0 {
		t.Errorf("%v", got)
	}
	var many []byte
	for range 1000 {
		many = binary.BigEndian.AppendUint32(many, uint32(wire.OptionNSID)<<16)
	}
	if got := exchange.Options(&wire.Message{Options: many}); len(got) != 64 {
		t.Errorf("%d options of 1,000", len(got))
	}
}
