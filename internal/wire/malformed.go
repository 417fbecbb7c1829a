package wire

// Malformed says why a message cannot be parsed. It is one byte, costs nothing
// to return, and is the index of its counter. 0 is well formed.
type Malformed uint8

// The faults.
const (
	ShortHeader    Malformed = iota + 1 // fewer than 12 octets
	IsResponse                          // QR=1: never answered, or two servers talk for ever
	QuestionCount                       // QDCOUNT other than one (RFC 9619, section 4)
	ShortName                           // the message ends within a name
	BadLabel                            // a label type other than 00, or a pointer where none may be
	LongName                            // over 255 octets (RFC 1035, section 2.3.4)
	BadPointer                          // a compression pointer that does not point strictly backwards
	ShortQuestion                       // the message ends within the question
	ShortRecord                         // the message ends within a record
	TooManyRecords                      // more records than any query has
	BadOPT                              // OPT twice, outside the additional section, below the root, or cut off
	BadTSIG                             // TSIG twice, not last, not class ANY, or with a MAC that is too short
	BadCookieLen                        // a cookie of a length that RFC 7873, section 5.2.2 forbids
	malformedCount
)

// MalformedCount is the number of values, 0 included, that a Malformed takes.
const MalformedCount = int(malformedCount)

var malformedText = [malformedCount]string{
	"well formed",
	"shorter than a header",
	"a response, not a query",
	"question count is not one",
	"name cut off",
	"bad label type",
	"name longer than 255 octets",
	"compression pointer does not point backwards",
	"question cut off",
	"record cut off",
	"too many records for a query",
	"bad OPT record",
	"bad TSIG record",
	"bad cookie length",
}

// Error implements error.
func (m Malformed) Error() string { return "wire: " + m.String() }

// String returns the fault in words.
func (m Malformed) String() string {
	if int(m) < len(malformedText) {
		return malformedText[m]
	}
	return "unknown fault"
}
