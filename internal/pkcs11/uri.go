// Package pkcs11 has DNSSEC keys in hardware: tokens that a PKCS#11 module reaches, such as that of an
// HSM, a smart card or SoftHSM.
//
// [New] takes the key stores of a configuration. A key is made in one of them ([Stores.Generate]), named
// by a URI (RFC 7512) from then on, and never leaves it: [Stores.Key] gives what signs with it. A token
// that is gone, or has lost the key, is an error each time, and the next call tries again: sessions are
// pooled, opened anew and logged in again when the token has forgotten them. A PIN that a token has refused
// is not tried a second time, since tokens lock themselves.
//
// Modules are libraries in C. Without the build tag pkcs11 the package is nothing: [Built] is false, and
// whatever would reach a token says [ErrNotBuilt].
package pkcs11

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrNotBuilt is why no token is reached.
var ErrNotBuilt = errors.New("this port53 was built without PKCS#11: use one that was built with it (make pkcs11)")

// Options are a key store as a configuration has it.
type Options struct {
	Name    string
	URI     URI    // of the token
	Module  string // the path of the library
	PINFile string // has the PIN and nothing else; empty: the token wants none
}

// A URI names a token, or a key in one, by what the token says of itself (RFC 7512).
type URI struct {
	values []attribute // in the order of attributes, which has each once
}

type attribute struct{ name, value string }

// attributes are those of a path that are compared, in the order in which they are written.
var attributes = []string{"token", "manufacturer", "serial", "model", "slot-id", "object", "id", "type"}

// ofToken is how many of them tell a token; the others tell a key in it.
const ofToken = 5

// maxURI is more octets than any sensible URI has.
const maxURI = 1024

// ErrPIN is that a URI of a token says its PIN, or where it is.
var ErrPIN = errors.New("it has pin-value or pin-source")

// ParseURI reads a URI as a key file has it: attributes of its query, and a PIN wherever it stands, are
// left out, so that nothing prints it.
func ParseURI(text string) (URI, error) {
	u, err := parse(text)
	if errors.Is(err, ErrPIN) {
		err = nil
	}
	return u, err
}

// ParseToken reads the URI of a token, which names no key. A PIN in it is [ErrPIN].
func ParseToken(text string) (URI, error) {
	u, err := parse(text)
	if err == nil && slices.ContainsFunc(u.values, func(a attribute) bool { return slices.Index(attributes, a.name) >= ofToken }) {
		err = errors.New("it names a key (object, id or type): name the token alone")
	}
	return u, err
}

func parse(text string) (u URI, err error) {
	path, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok || len(text) > maxURI {
		return u, errors.New("expected a URI such as pkcs11:token=dnssec")
	}
	path, query, _ := strings.Cut(path, "?")
	pin := strings.Contains(query, "pin-")
	for part := range strings.SplitSeq(path, ";") {
		name, value, ok := strings.Cut(part, "=")
		switch {
		case part == "":
			continue
		case strings.HasPrefix(name, "pin-"): // where BIND's manual has it
			pin = true
			continue
		case strings.HasPrefix(name, "library-"), name == "slot-manufacturer", name == "slot-description":
			continue // of the module, and not of the token
		case !ok || !slices.Contains(attributes, name):
			return URI{}, fmt.Errorf("%q is not known: expected attributes such as token=dnssec, separated by semicolons", name)
		case u.get(name) != "":
			return URI{}, fmt.Errorf("a second %s", name)
		}
		if value, err = unescape(value); err != nil {
			return URI{}, fmt.Errorf("%s: %w", name, err)
		}
		if _, err := strconv.ParseUint(value, 10, 32); name == "slot-id" && err != nil {
			return URI{}, errors.New("slot-id: expected a number")
		}
		if value != "" {
			u = u.with(name, value)
		}
	}
	if pin {
		return u, ErrPIN
	}
	return u, nil
}

func unescape(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i+3 > len(text) {
			return "", errors.New("expected two hexadecimal digits behind %")
		}
		n, err := strconv.ParseUint(text[i+1:i+3], 16, 8)
		if err != nil {
			return "", errors.New("expected two hexadecimal digits behind %")
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

// String returns the URI, an attribute's special characters escaped.
func (u URI) String() string {
	var b strings.Builder
	b.WriteString("pkcs11:")
	for i, a := range u.values {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(a.name + "=")
		for _, c := range []byte(a.value) {
			plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+", c) >= 0
			if plain && a.name != "id" {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return b.String()
}

// get returns the value of an attribute; empty: it is not there.
func (u URI) get(name string) string {
	for _, a := range u.values {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

// with returns the URI with one attribute more.
func (u URI) with(name, value string) URI {
	values := append(slices.Clip(u.values), attribute{name, value})
	slices.SortFunc(values, func(a, b attribute) int { return slices.Index(attributes, a.name) - slices.Index(attributes, b.name) })
	return URI{values}
}

// fits reports whether a key may be in the token that u names: what both say is the same, and there is
// something that both say, unless u names just any token.
func (u URI) fits(key URI) bool {
	common := len(u.values) == 0
	for _, a := range u.values {
		other := key.get(a.name)
		if other != "" && other != a.value {
			return false
		}
		common = common || other != ""
	}
	return common
}
