package api

import (
	"encoding/json"
	"strings"

	"port53/internal/wire"
	"port53/internal/zone"
)

// What is noted of a version, in JSON. Keys are "zone", and "set", a type in two octets, and the owner's
// name in wire form and lower case.

const zoneNote = "zone"

func setNote(owner []byte, t wire.Type) string {
	return "set" + string([]byte{byte(t >> 8), byte(t)}) + string(wire.Lower(nil, owner))
}

// parseSetNote returns what a key of a set is about.
func parseSetNote(key string) (owner []byte, t wire.Type, ok bool) {
	text, ok := strings.CutPrefix(key, "set")
	if !ok || len(text) < 3 {
		return nil, 0, false
	}
	return []byte(text[2:]), wire.Type(text[0])<<8 | wire.Type(text[1]), true
}

// A zoneInfo is what is noted of a zone as a whole.
type zoneInfo struct {
	Kind       string              `json:"kind,omitempty"` // Native, Master and so on
	Account    string              `json:"account,omitempty"`
	SOAEditAPI string              `json:"soa_edit_api,omitempty"`
	SOAEdit    string              `json:"soa_edit,omitempty"`
	APIRectify *bool               `json:"api_rectify,omitempty"`
	Catalog    string              `json:"catalog,omitempty"`
	NSEC3Param string              `json:"nsec3param,omitempty"`
	Narrow     bool                `json:"nsec3narrow,omitempty"`
	Masters    []string            `json:"masters,omitempty"` // of a kind that has no use for them
	PrimaryKey []string            `json:"master_tsig_key_ids,omitempty"`
	OutKeys    []string            `json:"slave_tsig_key_ids,omitempty"`
	Metadata   map[string][]string `json:"metadata,omitempty"`
}

// infoOf returns what is noted of a zone.
func infoOf(n *zone.Notes) (info zoneInfo) {
	if text := n.Get(zoneNote); text != "" {
		_ = json.Unmarshal([]byte(text), &info) // what is there was written by note
	}
	return info
}

// note returns the change that notes it.
func (i *zoneInfo) note() zone.Note { return zone.Note{Key: zoneNote, Value: marshal(i)} }

// marshal returns v as JSON, or nothing if that has no values.
func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil || string(text) == "{}" {
		return ""
	}
	return string(text)
}

// A setInfo is what is noted of a set.
type setInfo struct {
	Comments []comment     `json:"comments,omitempty"`
	Disabled []disabledOne `json:"disabled,omitempty"`
	Owner    string        `json:"owner,omitempty"` // as it is spelled, where nothing else says so
}

// A comment is what somebody says of a set.
type comment struct {
	Content    string `json:"content"`
	Account    string `json:"account"`
	ModifiedAt int64  `json:"modified_at"` // seconds since 1970
}

// A disabledOne is a record that is not served.
type disabledOne struct {
	TTL  uint32 `json:"ttl"`
	Data []byte `json:"data"`
}

// setInfoOf returns what is noted of a set.
func setInfoOf(n *zone.Notes, owner []byte, t wire.Type) (info setInfo) {
	return parseSetInfo(n.Get(setNote(owner, t)))
}

func parseSetInfo(text string) (info setInfo) {
	if text != "" {
		_ = json.Unmarshal([]byte(text), &info) // what is there was written by note
	}
	return info
}

// note returns the change that notes it of a set.
func (i *setInfo) note(owner []byte, t wire.Type) zone.Note {
	n := zone.Note{Key: setNote(owner, t)}
	if len(i.Comments)+len(i.Disabled) > 0 {
		if i.Owner = ""; string(wire.Lower(nil, owner)) != string(owner) {
			i.Owner = string(wire.AppendName(nil, owner))
		}
		n.Value = marshal(i)
	}
	return n
}
