package upstream

import (
	"bytes"
	"encoding/binary"

	"port53/internal/exchange"
	"port53/internal/wire"
)

// build writes the query with a new ID and a new case.
func (a *attempt) build() {
	flags := uint16(0)
	if a.q.RD {
		flags |= wire.FlagRD
	}
	if a.q.CD {
		flags |= wire.FlagCD
	}
	b := wire.AppendQuery(a.room[:0], uint16(a.c.random.Uint64()), flags, a.q.Name, a.q.Type)
	if a.mixed {
		name := b[wire.HeaderLen : wire.HeaderLen+len(a.q.Name)]
		a.c.random.mixCase(name, a.q.Name)
		a.reply.CaseUnknown = a.unsure && !bytes.Equal(name, a.q.Name)
	}
	if a.edns {
		var room [4 + 40]byte
		options := room[:0]
		if a.cookies {
			cookie := a.known.cookie[:a.known.cookieLen]
			options = append(options, 0, wire.OptionCookie, 0, byte(8+len(cookie)))
			options = append(options, a.known.client[:]...)
			options = append(options, cookie...)
		}
		if a.q.Transport != nil {
			options = appendPadding(options, len(b)+optHeader+len(options))
		}
		b = wire.AppendOPT(b, uint16(a.c.o.UDPSize), a.q.DO, options)
		b[11] = 1
	}
	a.query = b
}

// optHeader is the octets of an OPT record without options.
const optHeader = 11

// fit returns how a reply fits the query, its case and its cookie looked at as well.
func (a *attempt) fit(msg []byte) exchange.Fit {
	fit := exchange.Match(a.query, msg)
	if fit >= exchange.NoQuestion {
		fit = a.judge(msg, fit)
	}
	return fit
}

// judge looks at what a reply that fits has beside its question.
func (a *attempt) judge(msg []byte, fit exchange.Fit) exchange.Fit {
	if fit == exchange.CaseDiffers && !a.mixed {
		fit = exchange.Exact // nobody has hidden anything in the case
	}
	a.taste = good
	if fit == exchange.Exact && a.edns && a.cookies {
		// Whoever has a connection has not guessed, whatever the cookie is like.
		if a.taste = a.tasted(msg); a.taste == wrong && !a.tcp {
			a.strange = true
			return exchange.NearMiss
		}
	}
	return fit
}

// findOPT returns the OPT record of a message, from its type on, or nil. Only the
// additional section may have it (RFC 6891, section 6.1.1); what is not whole ends the
// walk.
func findOPT(msg []byte) []byte {
	pos := wire.HeaderLen
	skip := func() bool {
		for pos < len(msg) {
			l := int(msg[pos])
			switch {
			case l == 0:
				pos++
				return true
			case l >= 0xC0:
				pos += 2
				return pos <= len(msg)
			case l > wire.MaxLabel:
				return false
			}
			pos += l + 1
		}
		return false
	}
	for range int(binary.BigEndian.Uint16(msg[4:])) {
		if !skip() {
			return nil
		}
		pos += 4
	}
	before := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	for i := range before + int(binary.BigEndian.Uint16(msg[10:])) {
		rooted := pos < len(msg) && msg[pos] == 0
		if !skip() || pos+10 > len(msg) {
			return nil
		}
		start := pos
		pos += 10 + int(binary.BigEndian.Uint16(msg[pos+8:]))
		if pos > len(msg) {
			return nil
		}
		if i >= before && rooted && binary.BigEndian.Uint16(msg[start:]) == uint16(wire.TypeOPT) {
			return msg[start:pos]
		}
	}
	return nil
}
