package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"port53/internal/finding"
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
func sarifKind(s finding.State) (kind, level string) {
	switch s {
	case finding.Fail:
		return "fail", "error"
	case finding.Warn:
		return "fail", "warning"
	case finding.Info:
		return "informational", "none"
	case finding.Unknown:
		return "open", "none"
	case finding.Skipped:
		return "notApplicable", "none"
	}
	return "pass", "none"
}

// sarifScore returns the number that code scanning sorts by, of 0 to 10.
func sarifScore(s finding.Severity) string {
	return [...]string{"0.0", "2.0", "5.0", "7.5", "9.5"}[s]
}

// sarifPrint is the name and the version of our fingerprints.
const sarifPrint = "port53/v1"

// sarifSchema is where the form is described.
const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

func (s *sarifWriter) begin() error {
	s.index = map[string]int{}
	rules := []sarifRule{}
	for i, c := range s.o.Rules {
		s.index[c.ID] = i
		r := sarifRule{
			ID: c.ID, Name: c.ID, Short: sarifText{cmp.Or(c.Fault, c.Title)}, Full: sarifText{c.Sent + " Judged: " + c.Criteria},
			Help: sarifText{c.AdviceFor("")},
			Properties: map[string]any{
				"security-severity": sarifScore(c.Severity), "tags": []string{"security", "dns", string(c.Group)},
			},
		}
		r.Default.Level = "error"
		if c.Severity <= finding.SevMedium {
			r.Default.Level = "warning"
		}
		for _, ref := range c.Refs {
			if r.HelpURI == "" {
				r.HelpURI = finding.Link(ref)
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
	_, err = fmt.Fprintf(s.w, `{"$schema":%q,"version":"2.1.0","runs":[{"tool":{"driver":{"name":"port53 check","version":%s,"rules":%s}},`+
		`"columnKind":"unicodeCodePoints","results":[`, sarifSchema, version, text)
	return err
}

func (s *sarifWriter) Write(r *finding.Report) error {
	if s.index == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	s.n++
	for _, x := range all(r) {
		if !s.wanted(x.State) {
			continue
		}
		kind, level := sarifKind(x.State)
		out := sarifResult{
			Rule: x.check.ID, Kind: kind, Level: level, Message: sarifText{x.title()},
			Fingerprints: map[string]string{sarifPrint: x.fingerprint()}, Locations: []sarifLocation{location(r, x.Finding)},
			Properties: map[string]any{
				"state": x.State.String(), "security-severity": sarifScore(x.severity()), "remedy": x.advice(), "command": x.command(),
			},
		}
		if x.Detail != "" {
			out.Message.Text += ": " + x.detail()
		}
		if i, ok := s.index[x.check.ID]; ok {
			out.Index = &i
		}
		if r.Baseline != nil && x.bad() {
			out.Baseline = "new"
			if x.known() {
				out.Baseline = "unchanged"
			}
		}
		if err := s.result(&out); err != nil {
			return err
		}
	}
	for _, g := range r.Gone() {
		out := sarifResult{
			Rule: wire.Printable(g.ID), Kind: "pass", Level: "none", Message: sarifText{wire.Printable(g.Title)},
			Fingerprints: map[string]string{sarifPrint: wire.Printable(g.Fingerprint)}, Baseline: "absent",
			Locations: []sarifLocation{location(r, &finding.Finding{})},
		}
		if err := s.result(&out); err != nil {
			return err
		}
	}
	return nil
}

// location returns what a finding is about: a server, a zone, or a line of a file.
func location(r *finding.Report, f *finding.Finding) sarifLocation {
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
	_, err := fmt.Fprintf(s.w, "],\"invocations\":[{\"executionSuccessful\":%t}]}]}\n", !s.interrupted())
	return err
}
