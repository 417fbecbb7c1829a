package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"port53/internal/finding"
	"port53/internal/report"
)

// A shape is a JSON Schema, as far as ours goes.
type shape map[string]any

// validate tells what of a value does not fit a schema.
func validate(root, s shape, v any, at string) (wrong []string) {
	if ref, ok := s["$ref"].(string); ok {
		def := root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")]
		return validate(root, def.(map[string]any), v, at)
	}
	if list, ok := s["oneOf"].([]any); ok {
		n := 0
		var all []string
		for _, x := range list {
			w := validate(root, x.(map[string]any), v, at)
			if all = append(all, w...); len(w) == 0 {
				n++
			}
		}
		if n != 1 {
			return append(all, fmt.Sprintf("%s fits %d of %d forms", at, n, len(list)))
		}
	}
	if c, ok := s["const"]; ok && c != v {
		wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", at, v, c))
	}
	if e, ok := s["enum"].([]any); ok && !slices.Contains(e, v) {
		wrong = append(wrong, fmt.Sprintf("%s is %v", at, v))
	}
	number, _ := v.(float64)
	_, isNumber := v.(float64)
	object, isObject := v.(map[string]any)
	array, isArray := v.([]any)
	_, isString := v.(string)
	_, isBool := v.(bool)
	if t, ok := s["type"].(string); ok {
		fits := map[string]bool{"object": isObject, "array": isArray, "string": isString, "boolean": isBool, "number": isNumber, "integer": isNumber && number == math.Trunc(number)}
		if !fits[t] {
			return append(wrong, fmt.Sprintf("%s is no %s", at, t))
		}
	}
	if low, ok := s["minimum"].(float64); ok && number < low {
		wrong = append(wrong, fmt.Sprintf("%s is %v, below %v", at, number, low))
	}
	if high, ok := s["maximum"].(float64); ok && number > high {
		wrong = append(wrong, fmt.Sprintf("%s is %v, above %v", at, number, high))
	}
	for i, x := range array {
		if items, ok := s["items"].(map[string]any); ok {
			wrong = append(wrong, validate(root, items, x, fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	if required, ok := s["required"].([]any); ok {
		for _, k := range required {
			if _, there := object[k.(string)]; !there {
				wrong = append(wrong, fmt.Sprintf("%s has no %s", at, k))
			}
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for k, x := range object {
		more, _ := s["additionalProperties"].(map[string]any)
		switch p, there := properties[k].(map[string]any); {
		case there:
			wrong = append(wrong, validate(root, p, x, at+"."+k)...)
		case more != nil:
			wrong = append(wrong, validate(root, more, x, at+"."+k)...)
		case s["additionalProperties"] == false:
			wrong = append(wrong, fmt.Sprintf("%s has %s, which the schema does not know", at, k))
		}
	}
	return wrong
}

func readSchema(t *testing.T) shape {
	t.Helper()
	var root shape
	if err := json.Unmarshal(report.JSONSchema(), &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestSchema holds whatever is written in JSON against the published schema.
func TestSchema(t *testing.T) {
	root := readSchema(t)
	published, err := os.ReadFile("../../docs/check.schema.json")
	if err != nil || !bytes.Equal(published, report.JSONSchema()) {
		t.Errorf("docs/check.schema.json is not what check schema prints (%v): copy internal/report/schema.json", err)
	}
	dead := &finding.Report{Target: finding.Target{Text: "192.0.2.9", FromRange: true}, Unreachable: true, Problem: "HTTP answers", Service: "HTTP"}
	left := madeReport()
	left.NotRun = []*finding.Check{{ID: "T-MORE", Mode: finding.Active, Severity: finding.SevHigh}}
	left.Results[0].Findings[0].LocalCause, left.Results[0].Findings[0].State = true, finding.Unknown
	lists := [][]*finding.Report{nil, {dead}, {left}, {madeReport(), hostileReport(), dead, left}, goldenReports()}
	for i, list := range lists {
		for _, f := range []report.Format{report.JSON, report.NDJSON} {
			for _, early := range []bool{false, true} {
				dec := json.NewDecoder(bytes.NewReader(written(t, f, report.Options{Interrupted: func() bool { return early }}, list...)))
				n := 0
				for dec.More() {
					var v any
					if err := dec.Decode(&v); err != nil {
						t.Fatal(err)
					}
					n++
					for _, w := range validate(root, root, v, "$") {
						t.Errorf("list %d, format %d: %s", i, f, w)
					}
				}
				if want := map[report.Format]int{report.JSON: 1, report.NDJSON: len(list) + 1}[f]; n != want {
					t.Errorf("list %d, format %d: %d documents", i, f, n)
				}
			}
		}
	}
}

// TestSchemaStrict has documents that the schema must refuse, for a schema that takes all is none.
func TestSchemaStrict(t *testing.T) {
	root := readSchema(t)
	good := string(written(t, report.JSON, report.Options{}, madeReport()))
	for _, c := range [][2]string{
		{"port53.check/2", "port53.check/1"},
		{`"state": "warn"`, `"state": "bad"`},
		{`"severity": "low"`, `"severity": 3`},
		{`"targets": 1`, `"targets": "1"`},
		{`"verdict"`, `"verdikt"`},
		{`"interrupted": false`, `"interrupted": 0`},
		{`"score": 74`, `"score": 101`},
	} {
		text := strings.ReplaceAll(good, c[0], c[1])
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil || text == good {
			t.Fatalf("%v: %v", c, err)
		}
		if len(validate(root, root, v, "$")) == 0 {
			t.Errorf("%v is taken", c)
		}
	}
}

// TestCompare has what is new, gone, not measured any more, and at other targets.
func TestCompare(t *testing.T) {
	past := func(list ...*finding.Report) *report.PreviousRun {
		p, err := report.ReadPreviousRun(bytes.NewReader(written(t, report.JSON, report.Options{}, list...)))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	older, newer, elsewhere := madeReport(), madeReport(), madeReport()
	elsewhere.Target.Text = "192.0.2.7"
	newer.Results[1].Findings[0].State = finding.Pass
	newer.Results[0].Findings[0].Key = "another"
	c := report.Compare(past(older, elsewhere), past(newer))
	if len(c.New) != 1 || c.New[0].ID != "T-ONE" || len(c.Gone) != 2 || len(c.Scores) != 1 || !slices.Equal(c.OnlyBefore, []string{"192.0.2.7"}) {
		t.Errorf("%+v", c)
	}
	if c.Worse(finding.SevMedium) || !c.Worse(finding.SevLow) {
		t.Error("what is new counts for another severity than its own")
	}
	if c := report.Compare(past(newer), past(older)); !c.Worse(finding.SevHigh) {
		t.Errorf("the other way: %+v", c)
	}
	// What cannot be measured any more is not gone.
	newer.Results[1].Findings[0].State = finding.Unknown
	c = report.Compare(past(older), past(newer))
	if slices.ContainsFunc(c.Gone, func(x report.Change) bool { return x.ID == "T-TWO" }) || len(c.Unmeasured) == 0 {
		t.Errorf("%+v", c)
	}
	var text, none bytes.Buffer
	if err := c.WriteText(&text); err != nil || !strings.Contains(text.String(), "NEW  192.0.2.1 warn low T-ONE") {
		t.Errorf("%v\n%s", err, &text)
	}
	if err := report.Compare(past(older), past(older)).WriteText(&none); err != nil || none.String() != "nothing changed\n" {
		t.Errorf("%v\n%s", err, &none)
	}
}
