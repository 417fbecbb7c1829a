package query

import (
	"fmt"
	"strings"
	"time"

	"port53/internal/chain"
	"port53/internal/dnssec"
	"port53/internal/exchange"
	"port53/internal/wire"
)

// AppendCheck appends a link of the chain as a comment line.
func AppendCheck(dst []byte, c *chain.Check) []byte {
	return fmt.Appendf(dst, "; %-8s %s %v: %s%s\n", c.Security, NameText(c.Name), c.Type, c.Text, checkError(c))
}

// checkError returns the Extended DNS Error of a link in words, behind a blank.
func checkError(c *chain.Check) string {
	if c.EDE < 0 {
		return ""
	}
	return fmt.Sprintf(" (EDE %d: %s)", c.EDE, wire.ErrorText(uint16(c.EDE)))
}

// AppendKeys appends the keys of the zones that the answer is of as comment lines: what each is, whether the
// parent has a DS record of it, what it was seen to sign, and how long its signatures are good.
func AppendKeys(dst []byte, v *chain.Validated, now time.Time) []byte {
	for i, z := range v.Zones {
		if !z.Answers && (v.Security != chain.Bogus || i != len(v.Zones)-1) {
			continue
		}
		dst = fmt.Appendf(dst, ";; KEYS of %s:\n", NameText(z.Zone))
		for _, k := range reportKeys(z, now) {
			ds := "-"
			switch {
			case k.DS:
				ds = "DS"
			case k.Flags&dnssec.FlagSEP != 0:
				ds = "no DS"
			}
			dst = fmt.Appendf(dst, "; %s %5d %-15s %-9s %-5s  %s\n", k.Kind, k.Tag, k.Algorithm, k.State, ds, k.signs())
		}
		for _, d := range z.DS {
			if !d.Key {
				algorithm := wire.AlgorithmName(d.Algorithm)
				dst = fmt.Appendf(dst, "; DS  %5d %-15s digest %d: no key here is the one that it is of\n", d.Tag, algorithm, d.Digest)
			}
		}
	}
	return dst
}

// signs says what a key was seen to sign.
func (k *KeyReport) signs() string {
	if len(k.Signs) == 0 {
		return "no signature seen"
	}
	var said []string
	for _, s := range k.Signs {
		switch {
		case s.Left <= 0:
			said = append(said, s.Type+" (expired)")
		case !s.Good:
			said = append(said, s.Type+" (bad)")
		default:
			said = append(said, fmt.Sprintf("%s (%s left)", s.Type, chain.DurationText(uint32(s.Left), 1)))
		}
	}
	return "signs " + strings.Join(said, ", ")
}

// ValidationMeaning says what a validation came to.
func ValidationMeaning(v *chain.Validated) []string {
	var say []string
	if v.First != nil {
		say = append(say, Meaning(v.First)[:1]...)
	}
	b := v.Broken
	switch v.Security {
	case chain.Secure:
		say = append(say, "secure: everything from the trust anchor to the answer is signed and the signatures are good")
	case chain.Insecure:
		say = append(say, fmt.Sprintf("insecure: the chain of trust ends at %s %v: %s", NameText(b.Name), b.Type, b.Text),
			"whether the answer is genuine cannot be told")
	case chain.Bogus:
		say = append(say, fmt.Sprintf("bogus: the chain of trust breaks at %s %v: %s%s", NameText(b.Name), b.Type, b.Text, checkError(b)),
			"a validating resolver answers SERVFAIL here: either the zone is broken, or somebody changes answers")
	case chain.Indeterminate:
		say = append(say, fmt.Sprintf("indeterminate: it could not be found out: %s %v: %s", NameText(b.Name), b.Type, b.Text))
	}
	return append(say, "asked "+plural(v.Queries, "question")+"; the server was told not to validate (CD), and this command did")
}

// A ValidateReport is a validation as JSON.
type ValidateReport struct {
	Schema   int            `json:"schema"`
	Question QuestionReport `json:"question"`
	Outcome  string         `json:"outcome"`
	Usable   bool           `json:"usable"`
	Security chain.Security `json:"security"`
	Time     time.Time      `json:"validation_time"`
	Broken   *CheckReport   `json:"broken,omitempty"` // the link that decided, unless all is secure
	Checks   []CheckReport  `json:"checks"`
	Zones    []ZoneReport   `json:"zones"` // whose keys were looked at
	Reply    *ReplyReport   `json:"reply,omitempty"`
	Error    string         `json:"error,omitempty"`
	Queries  int            `json:"queries"`
	Meaning  []string       `json:"meaning"`
}

// A CheckReport is one link of the chain as JSON.
type CheckReport struct {
	Zone     string         `json:"zone"`
	Name     string         `json:"name"`
	Type     string         `json:"type"`
	Security chain.Security `json:"security"`
	Error    *ErrorReport   `json:"extended_error,omitempty"`
	Text     string         `json:"text"`
}

// A ZoneReport is a zone's keys as JSON.
type ZoneReport struct {
	Zone    string      `json:"zone"`
	Answers bool        `json:"answers"` // the answer is the zone's
	Keys    []KeyReport `json:"keys"`
	DS      []DSReport  `json:"ds"` // at the parent, or of the trust anchor
}

// A KeyReport is a key of a DNSKEY set.
type KeyReport struct {
	Kind      string            `json:"kind"` // KSK, ZSK, CSK
	Tag       uint16            `json:"tag"`
	Algorithm string            `json:"algorithm"`
	Flags     uint16            `json:"flags"`
	State     string            `json:"state"` // active, published, revoked
	DS        bool              `json:"ds"`    // a DS record or the trust anchor is of it
	Signs     []SignatureReport `json:"signs"`
}

// A SignatureReport is what was seen of a key's signatures of a type.
type SignatureReport struct {
	Type    string    `json:"type"`
	Good    bool      `json:"good"`
	Expires time.Time `json:"expires"`
	Left    int64     `json:"seconds_left"`
}

// A DSReport is a DS record.
type DSReport struct {
	Tag       uint16 `json:"tag"`
	Algorithm string `json:"algorithm"`
	Digest    uint8  `json:"digest_type"`
	Key       bool   `json:"key"` // the zone has the key that it is of
}

// reportKeys returns the keys of a zone as they are in JSON.
func reportKeys(z *chain.ZoneKeys, now time.Time) []KeyReport {
	list := []KeyReport{}
	for i := range z.Keys {
		k := &z.Keys[i]
		r := KeyReport{
			Kind: k.Kind(), Tag: k.Tag, Algorithm: wire.AlgorithmName(k.Algorithm), Flags: k.Flags,
			State: k.State(), DS: k.Trusted, Signs: []SignatureReport{},
		}
		for _, s := range k.Signs {
			r.Signs = append(r.Signs, SignatureReport{s.Type.String(), s.Good, s.Expires, int64(s.Expires.Sub(now) / time.Second)})
		}
		list = append(list, r)
	}
	return list
}

// ReportCheck returns a link as it is in JSON.
func ReportCheck(c *chain.Check) CheckReport {
	r := CheckReport{Zone: NameText(c.Zone), Name: NameText(c.Name), Type: c.Type.String(), Security: c.Security, Text: c.Text}
	if c.EDE >= 0 {
		r.Error = &ErrorReport{Code: uint16(c.EDE), Name: wire.ErrorText(uint16(c.EDE))}
	}
	return r
}

// ReportValidation returns the whole validation as it is in JSON.
func ReportValidation(v *chain.Validated, q *exchange.Question, now time.Time, checks []CheckReport) ValidateReport {
	r := ValidateReport{
		Schema: Schema, Question: ReportQuestion(q), Outcome: string(chain.Failed), Usable: v.Usable(), Security: v.Security,
		Time: now.UTC(), Checks: checks, Zones: []ZoneReport{}, Queries: v.Queries, Meaning: ValidationMeaning(v),
	}
	if v.First != nil {
		r.Outcome, r.Reply = string(chain.Classify(v.First).Outcome), reportMessage(v.First)
	}
	for _, z := range v.Zones {
		zone := ZoneReport{Zone: NameText(z.Zone), Answers: z.Answers, Keys: reportKeys(z, now), DS: []DSReport{}}
		for _, d := range z.DS {
			zone.DS = append(zone.DS, DSReport{d.Tag, wire.AlgorithmName(d.Algorithm), d.Digest, d.Key})
		}
		r.Zones = append(r.Zones, zone)
	}
	if v.Broken != nil {
		b := ReportCheck(v.Broken)
		r.Broken = &b
	}
	if v.Err != nil {
		r.Error = v.Err.Error()
	}
	return r
}
