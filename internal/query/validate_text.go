package query

import (
	"fmt"
	"time"

	"port53/internal/chain"
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
		Time: now.UTC(), Checks: checks, Queries: v.Queries, Meaning: ValidationMeaning(v),
	}
	if v.First != nil {
		r.Outcome, r.Reply = string(chain.Understand(v.First).Outcome), reportMessage(v.First)
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
