package catalogue

import (
	"context"
	"errors"
	"fmt"

	"port53/internal/finding"
	"port53/internal/wire"
)

// A remark is what a rule says of records.
type remark struct {
	key      string // tells remarks of one rule apart
	state    finding.State
	severity finding.Severity // 0: the check's
	title    string           // empty: the check's
	text     string
	own      bool // it is unknown for what this machine lacks
}

// passes is a remark that nothing is wrong, lookup in one line.
func passes(key, format string, args ...any) remark {
	return remark{key: key, state: finding.Pass, text: fmt.Sprintf(format, args...)}
}

// warns is one of what is weak, or to be ignored.
func warns(key string, severity finding.Severity, format string, args ...any) remark {
	return remark{key: key, state: finding.Warn, severity: severity, text: fmt.Sprintf(format, args...)}
}

// fails is one of what those whom the records are for have to take for wrong.
func fails(key string, severity finding.Severity, format string, args ...any) remark {
	return remark{key: key, state: finding.Fail, severity: severity, text: fmt.Sprintf(format, args...)}
}

// unknown is one of what could not be found out.
func unknown(key string, err error) remark {
	return remark{key: key, state: finding.Unknown, text: "could not be measured: " + err.Error(), own: errors.Is(err, finding.ErrLocal)}
}

// An existence is what a name has of a type.
type existence uint8

// What a lookup comes to.
const (
	isThere existence = iota // there are such records
	noData                   // the name exists, without such records
	noName                   // it does not exist
	broken                   // nobody answers, or says why: the error does
	unasked                  // nobody was asked, for a reason of this machine's: the error says which
)

// A lookup is what was found out about a name and a type, aliases followed.
type lookup struct {
	is      existence
	data    [][]byte // of the records, if there are some
	final   []byte   // the name at the end of aliases
	aliases int
	err     error
	raw     []byte // the last reply
	command string // shows the same

	// What a name that is not there, or is not found, is denied by.
	zone []byte // whose SOA record came with the denial, or whose servers were asked last
	lame []lame // of its servers, all that were asked, if none of them serves the zone
	safe bool   // each delegation on the way had DS records, and the answer signatures
}

// A lame is a server that was asked as one of a zone's and does not serve it.
type lame struct {
	server []byte // its name
	why    string
}

// A teller tells what a name has of a type. In port53 check that is the network, in port53 zone check the
// zone's file: what is outside of it is unasked.
type teller interface {
	tell(ctx context.Context, name []byte, t wire.Type) *lookup
}

// texts returns the strings of TXT records, those of each joined (RFC 7208, section 3.3).
func (t *lookup) texts() []string {
	var out []string
	for _, d := range t.data {
		out = append(out, joinTXT(d))
	}
	return out
}

// why tells in words why there is no such record.
func (t *lookup) why(what wire.Type) string {
	switch t.is {
	case noName:
		return "does not exist"
	case noData:
		return fmt.Sprintf("has no %s record", what)
	case broken, unasked:
		return "cannot be looked up: " + t.err.Error()
	case isThere:
	}
	return "is there"
}
