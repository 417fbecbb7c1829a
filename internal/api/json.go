package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
)

// A document is an object of a request, read as PowerDNS does: each value by itself, by its name.
type document map[string]any

// errJSON is of a body that is none.
func errJSON() error { return &problem{status: http.StatusBadRequest} }

// document reads the body of a request. What is no object has no values.
func (c *call) document() (document, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil || d.More() {
		return nil, errJSON()
	}
	doc, _ := v.(map[string]any)
	return doc, nil
}

// body reads the body of a request, which is not nested deeply.
func (c *call) body() ([]byte, error) {
	body, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, err
	}
	if nested(body) > maxDepth {
		return nil, &problem{status: http.StatusBadRequest, text: fmt.Sprintf("the request is nested more than %d deep", maxDepth)}
	}
	return body, nil
}

// nested returns how deep a text of JSON is nested.
func nested(text []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '[', b == '{':
			depth++
			deepest = max(deepest, depth)
		case b == ']', b == '}':
			depth--
		}
	}
	return deepest
}

// text returns a text of a document.
func (d document) text(key string) (string, error) {
	s, ok := d[key].(string)
	if !ok {
		return "", invalid("Key '" + key + "' not present or not a String")
	}
	return s, nil
}

// has returns a text of a document, and whether it is there.
func (d document) has(key string) (string, bool) {
	s, ok := d[key].(string)
	return s, ok
}

// number returns a number of a document.
func (d document) number(key string) (int64, error) {
	n, ok := d[key].(json.Number)
	if ok {
		if i, err := n.Int64(); err == nil {
			return i, nil
		}
		if f, err := n.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<62 {
			return int64(f), nil
		}
	}
	return 0, invalid("Key '" + key + "' not an Integer or not present")
}

// flag returns a truth value of a document; there: it is one.
func (d document) flag(key string) (value, there bool) {
	value, there = d[key].(bool)
	return value, there
}

// list returns the values of a list of a document; there: it is one.
func (d document) list(key string) (values []any, there bool) {
	values, there = d[key].([]any)
	return values, there
}

// objects returns those of a list; what is no object has no values.
func (d document) objects(key string) (all []document, there bool) {
	values, there := d.list(key)
	for _, v := range values {
		o, _ := v.(map[string]any)
		all = append(all, o)
	}
	return all, there
}
