package check

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"port53/internal/wire"
)

// A sarifWriter writes one run of the Static Analysis Results Interchange Format 2.1.0
// (OASIS, 2020). The checks are its rules.
type sarifWriter struct {
	base
	index   map[string]int // of the rules
	results int
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Short      sarifText      `json:"shortDescription"`
	Full       sarifText      `json:"fullDescription"`
	Help       sarifText      `json:"help"`
	HelpURI    string         `json:"helpUri,omitempty"`
	Default    sarifDefault   `json:"defaultConfiguration"`
	Properties map[string]any `json:"properties"`
}

type sarifDefault struct {
	Level string `json:"level"`
}

type sarifLogical struct {
	Name string `json:"fullyQualifiedName"`
	Kind string `json:"kind"`
}

type sarifPhysical struct {
	Artifact struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
	Region *sarifRegion `json:"region,omitempty"`
}

type sarifRegion struct {
	Line int `json:"startLine"`
}

type sarifLocation struct {
	Physical *sarifPhysical `json:"physicalLocation,omitempty"`
	Logical  []sarifLogical `json:"logicalLocations"`
}

type sarifResult struct {
	Rule         string            `json:"ruleId"`
	Index        *int              `json:"ruleIndex,omitempty"`
	Kind         string            `json:"kind"`
	Level        string            `json:"level"`
	Message      sarifText         `json:"message"`
	Locations    []sarifLocation   `json:"locations"`
	Fingerprints map[string]string `json:"partialFingerprints"`
	Baseline     string            `json:"baselineState,omitempty"`
	Properties   map[string]any    `json:"properties,omitempty"`
}

// sarifKind returns the kind and level of a state (SARIF 2.1.0, sections 3.27.9 and
// 3.27.10: only what fails has a level).
func sarifKind(s State) (kind, level string) {
	switch s {
	case Fail:
		return "fail", "error"
	case Warn:
		return "fail", "warning"
	case Info:
		return "informational", "none"
	case Unknown:
		return "open", "none"
	case Skipped:
		return "notApplicable", "none"
	}
	return "pass", "none"
}

// sarifScore returns the number that code scanning sorts by, of 0 to 10.
func sarifScore(s Severity) string {
	return [...]string{"0.0", "2.0", "5.0", "7.5", "9.5"}[s]
}

// link returns where a reference can be read, or "".
func link(ref string) string {
	rest, ok := strings.CutPrefix(ref, "RFC ")
	if ok {
		n, section, _ := strings.Cut(rest, ", section ")
		if section != "" {
			section = "#section-" + section
		}
		return "https://www.rfc-editor.org/rfc/rfc" + n + section
	}
	if strings.HasPrefix(ref, "CVE-") {
		return "https://www.cve.org/CVERecord?id=" + ref
	}
	return ""
}

func (s *sarifWriter) begin() error {
	s.index = map[string]int{}
	rules := []sarifRule{}
	for i, c := range Catalogue() {
		s.index[c.ID] = i
		r := sarifRule{
			ID: c.ID, Name: c.ID, Short: sarifText{c.Title}, Full: sarifText{c.About + " Judged: " + c.Judged}, Help: sarifText{c.AdviceFor("")},
			Properties: map[string]any{"security-severity": sarifScore(c.Severity), "tags": []string{"security", "dns", string(c.Group)}},
		}
		r.Default.Level = "error"
		if c.Severity <= SevMedium {
			r.Default.Level = "warning"
		}
		for _, ref := range c.Refs {
			if r.HelpURI == "" {
				r.HelpURI = link(ref)
			}
		}
		rules = append(rules, r)
	}
	text, err := json.Marshal(rules)
	if err != nil {
		return err
	}
	version, err := json.Marshal(wire.Printable(s.o.Version))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.w, `{"$schema":"https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json","version":"2.1.0","runs":[{"tool":{"driver":{"name":"port53 check","version":%s,"rules":%s}},"columnKind":"unicodeCodePoints","results":[`, version, text)
	return err
}

func (s *sarifWriter) Write(r *Report) error {
	if s.index == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.n++
	for _, x := range r.all() {
		c, f := x.result.Check, x.finding
		if !s.wanted(f.State) {
			continue
		}
		kind, level := sarifKind(f.State)
		out := sarifResult{
			Rule: c.ID, Kind: kind, Level: level, Fingerprints: map[string]string{"port53/v1": r.Fingerprint(c, f)},
			Properties: map[string]any{"state": f.State.String(), "security-severity": sarifScore(x.result.SeverityOf(f)), "remedy": wire.Printable(r.advice(c)), "command": wire.Printable(f.Evidence.Command)},
		}
		message := wire.Printable(x.result.title(f))
		if f.Detail != "" {
			message += ": " + wire.Printable(f.Detail)
		}
		out.Message.Text = message
		if i, ok := s.index[c.ID]; ok {
			out.Index = &i
		}
		if r.Baseline != nil && (f.State == Fail || f.State == Warn) {
			out.Baseline = "new"
			if r.Known(c, f) {
				out.Baseline = "unchanged"
			}
		}
		out.Locations = []sarifLocation{s.location(r, f)}
		if err := s.result(&out); err != nil {
			return err
		}
	}
	for _, g := range r.Gone() {
		out := sarifResult{Rule: wire.Printable(g.ID), Kind: "pass", Level: "none", Message: sarifText{wire.Printable(g.Title)}, Fingerprints: map[string]string{"port53/v1": wire.Printable(g.Fingerprint)}, Baseline: "absent", Locations: []sarifLocation{s.location(r, &Finding{})}}
		if err := s.result(&out); err != nil {
			return err
		}
	}
	return nil
}

// location returns what a finding is about: a server, a zone, or a line of a file.
func (s *sarifWriter) location(r *Report, f *Finding) sarifLocation {
	l := sarifLocation{Logical: []sarifLogical{{Name: wire.Printable(r.Target.Text), Kind: "resource"}}}
	if a := r.Target.Server.Addr; a.IsValid() {
		l.Logical[0].Name = "dns://" + a.String()
	} else if r.Target.Zone != nil {
		l.Logical[0].Name = "dns:" + url.PathEscape(strings.TrimSuffix(wire.NameText(r.Target.Zone), "."))
	}
	if f.File != "" {
		l.Physical = &sarifPhysical{}
		u := url.URL{Path: filepath.ToSlash(wire.Printable(f.File))}
		l.Physical.Artifact.URI = u.EscapedPath()
		if f.Line > 0 {
			l.Physical.Region = &sarifRegion{f.Line}
		}
	}
	return l
}

func (s *sarifWriter) result(r *sarifResult) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if s.results++; s.results > 1 {
		text = append([]byte(",\n"), text...)
	}
	_, err = s.w.Write(text)
	return err
}

func (s *sarifWriter) Close() error {
	if s.index == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	_, err := io.WriteString(s.w, "]}]}\n")
	return err
}
