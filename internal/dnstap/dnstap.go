// Package dnstap sends queries and replies, with their octets, to a collector: as the messages of dnstap.info,
// in Frame Streams over a Unix socket or TCP, by the handshake in both directions.
//
// A [Sender] takes records of package event only while a collector is there. It waits for nobody who answers
// queries: what comes while the collector does not read is kept up to a bound, and counted beyond that.
package dnstap

import (
	"encoding/binary"
	"net/netip"

	"port53/internal/event"
	"port53/internal/wire"
)

// A Kind is whose messages are sent.
type Kind uint8

// The kinds.
const (
	Client    Kind = 1 << iota // of clients of the recursive service
	Auth                       // of those who ask for zones that are served
	Resolver                   // to servers of zones
	Forwarder                  // to forwarders
	Update                     // dynamic updates
	All       = Client | Auth | Resolver | Forwarder | Update
)

// Numbers of dnstap.proto: the types of messages (the reply's is one more), and fields.
const (
	typeAuth      = 1
	typeResolver  = 3
	typeClient    = 5
	typeForwarder = 7
	typeUpdate    = 13

	fieldIdentity = 1
	fieldVersion  = 2
	fieldMessage  = 14
	fieldType     = 15
	isMessage     = 1

	messageType         = 1
	messageFamily       = 2
	messageProtocol     = 3
	messageQueryAddress = 4
	messageReplyAddress = 5
	messageQueryPort    = 6
	messageReplyPort    = 7
	messageQuerySec     = 8
	messageQueryNsec    = 9
	messageQuery        = 10
	messageReplySec     = 12
	messageReplyNsec    = 13
	messageReply        = 14
)

// protocols are the numbers of transports.
var protocols = [...]uint64{event.UDP: 1, event.TCP: 2, event.DoT: 3, event.DoH: 4, event.DoQ: 7}

// kindOf returns of which kind a record is, and the type of its query.
func kindOf(r *event.Record) (Kind, uint64) {
	switch {
	case r.Kind == event.Server && r.Recursive:
		return Forwarder, typeForwarder
	case r.Kind == event.Server:
		return Resolver, typeResolver
	case wire.Opcode(r.Opcode) == wire.OpcodeUpdate:
		return Update, typeUpdate
	case r.Recursive && r.Path != event.Zone:
		return Client, typeClient
	}
	return Auth, typeAuth
}

// Wire types of protocol buffers.
const (
	varint  = 0
	octets  = 2
	fixed32 = 5
)

func appendKey(b []byte, field int, wireType uint64) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|wireType)
}

func appendNumber(b []byte, field int, n uint64) []byte {
	return binary.AppendUvarint(appendKey(b, field, varint), n)
}

func appendOctets(b []byte, field int, data []byte) []byte {
	return append(binary.AppendUvarint(appendKey(b, field, octets), uint64(len(data))), data...)
}

func appendAddress(b []byte, field int, a netip.Addr) []byte {
	if a.Is4() {
		four := a.As4()
		return appendOctets(b, field, four[:])
	}
	six := a.As16()
	return appendOctets(b, field, six[:])
}

func appendTime(b []byte, sec, nsec int, at int64) []byte {
	b = appendNumber(b, sec, uint64(at/1e9))
	return binary.LittleEndian.AppendUint32(appendKey(b, nsec, fixed32), uint32(at%1e9))
}

// appendMessage appends the message of a query, or of its reply, which has the time of the query too.
func appendMessage(b []byte, r *event.Record, typ uint64, reply bool) []byte {
	if reply {
		typ++
	}
	asker, asked := r.Remote, r.Local
	if r.Kind == event.Server {
		asker, asked = r.Local, r.Remote
	}
	asker, asked = unmap(asker), unmap(asked)
	b = appendNumber(b, messageType, typ)
	family := uint64(1)
	if unmap(r.Remote).Addr().Is6() {
		family = 2
	}
	b = appendNumber(b, messageFamily, family)
	b = appendNumber(b, messageProtocol, protocols[min(int(r.Transport), len(protocols)-1)])
	for _, end := range [...]struct {
		at            netip.AddrPort
		address, port int
	}{{asker, messageQueryAddress, messageQueryPort}, {asked, messageReplyAddress, messageReplyPort}} {
		if end.at.Addr().IsValid() {
			b = appendAddress(b, end.address, end.at.Addr())
			b = appendNumber(b, end.port, uint64(end.at.Port()))
		}
	}
	b = appendTime(b, messageQuerySec, messageQueryNsec, r.Time)
	if !reply {
		return appendOctets(b, messageQuery, r.Query)
	}
	b = appendTime(b, messageReplySec, messageReplyNsec, r.Time+max(r.Latency, 0))
	return appendOctets(b, messageReply, r.Response)
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
