package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"port53/internal/wire"
)

// A scalar is one value as the file has it.
type scalar struct {
	text   string
	quoted bool // in quotes
	number bool // plain, and YAML takes it for a number
}

// found says what stands in the file, for an error.
func (s scalar) found() string {
	if s.number {
		return printable(s.text)
	}
	return quote(s.text)
}

// A problem is what is wrong with a value.
type problem struct{ text, hint string }

func expected(k *key, s scalar, hint string) *problem {
	found := s.found()
	if k.form == formSecret { // errors end up in logs
		found = "a number, or a text that is too long"
	}
	return &problem{"expected " + k.expects() + ", found " + found, hint}
}

// expects says what a key's value looks like.
//
// In one piece: it is a line for each form.
func (k *key) expects() string {
	between := ""
	switch {
	case k.min != "" && k.max != "":
		between = ", from " + k.min + " to " + k.max
	case k.min != "":
		between = ", at least " + k.min
	}
	switch k.form {
	case formSection:
		return "a block"
	case formText:
		if k.value != "" {
			return k.value
		}
		return fmt.Sprintf("at most %d octets of printable text", maxLabel)
	case formSecret:
		return "at least 16 octets in base64"
	case formUser:
		return "the name of a user"
	case formRole:
		return oneOf(roles())
	case formWord:
		return oneOf(k.words)
	case formName:
		return cmp.Or(k.value, "a domain name such as example.com")
	case formPattern:
		return "a domain name such as nas.home.arpa, or *.lab.home.arpa for all below"
	case formPath:
		return "a path"
	case formPathOrOff:
		return "the path of a Unix socket, or off"
	case formHidden:
		return fmt.Sprintf("hidden, or at most %d octets of printable text", maxCharacterString)
	case formBool:
		return "true or false"
	case formInt:
		return "a number" + strings.TrimPrefix(between, ",")
	case formRate:
		return "a rate such as 20/s" + between
	case formSize:
		return "a size such as 64MiB" + between
	case formDuration:
		return "a time such as 500ms, 30s, 5m, 1h, 1d or 1w" + between
	case formPrefix:
		return k.expectsNetwork()
	case formAddress:
		return `an address such as 192.0.2.1, "192.0.2.1:5353" or "[::1]:5353"`
	case formAddressOrOff:
		return `an address such as "127.0.0.1:` + strconv.Itoa(int(k.port)) + `", or off`
	case formUpstream:
		if k.remote {
			return `the address of a server such as 192.0.2.1, "192.0.2.1:5353" or "[2001:db8::1]:53", or the name of a remote`
		}
		return `the address of a server such as 192.0.2.1, "192.0.2.1:5353" or "[2001:db8::1]:53"`
	case formServer:
		return `the address of a server such as 192.0.2.1, "192.0.2.1:5353", "tls://192.0.2.1#dns.example", ` +
			`"quic://192.0.2.1#dns.example" or "https://192.0.2.1/dns-query#dns.example"`
	case formHost:
		return `an address such as 192.0.2.1 or "2001:db8::1"`
	case formFileOrOff:
		return "a path, or off"
	case formTime:
		return "a time such as 2026-10-20T12:00:00Z, or a date such as 2026-10-20"
	case formFiles:
		return "a path, or a pattern such as conf.d/*.yaml"
	case formInterface:
		return "the name of a network interface"
	case formAnswer, formHours, formURL, formTimeZone, formAnyHost:
		return k.form.filterText()
	case formTimeOrNow:
		return "a time such as 2026-10-20T12:00:00Z, a date such as 2026-10-20, or now"
	}
	return "a value"
}

// expectsNetwork says what an entry of a list of networks looks like.
func (k *key) expectsNetwork() string {
	switch {
	case strings.HasSuffix(k.path, "dns64.prefix"):
		return `an IPv6 prefix such as "64:ff9b::/96"`
	case strings.HasSuffix(k.path, "exceptions.server"):
		return `a network such as 10.0.0.0/8 or "fd00::/8", or an address`
	}
	forms := []string{`a network such as 10.0.0.0/8 or "fd00::/8"`, "an address", "the name of an entry in networks"}
	if k.remote {
		forms = append(forms, "the name of a remote")
	}
	for _, b := range k.beside {
		text := "{" + b.word + ": " + strings.ToUpper(b.key.word()) + "}"
		if b.word == "interface" {
			text += " for the networks of that interface"
		}
		forms = append(forms, text)
	}
	if k.who {
		forms = append(forms, `"everybody"`, `"nobody"`)
	}
	last := len(forms) - 1
	return strings.Join(forms[:last], ", ") + ", or " + forms[last]
}

// oneOf lists words as a sentence does.
func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Bounds of texts.
const (
	maxCharacterString = 255  // RFC 1035, section 3.3: a character-string; and section 2.3.4: a name
	maxLabel           = 128  // of an NSID: it is sent with every reply that asks for it
	maxPath            = 4096 // Linux: PATH_MAX
	maxSocketPath      = 107  // Linux: sun_path without its final zero
	maxInterface       = 15   // Linux: IFNAMSIZ without its final zero
	maxUser            = 32   // Linux: LOGIN_NAME_MAX of shadow-utils
)

// parse returns the value that s is for k, of k's Go type. folder is what
// relative paths are seen from.
func (k *key) parse(s scalar, folder string) (any, *problem) {
	switch k.form {
	case formBool, formInt:
		if s.quoted {
			return nil, expected(k, s, k.withoutQuotes(s))
		}
	case formText, formHidden, formSecret:
		if s.number {
			return nil, expected(k, s, k.inQuotes(s))
		}
	}
	switch k.form {
	case formText, formSecret:
		return k.parseText(s, k.maxText())
	case formHidden:
		if s.text == "hidden" {
			return "", nil
		}
		return k.parseText(s, maxCharacterString)
	case formUser:
		return k.parseUser(s)
	case formRole:
		return k.parseRole(s)
	case formWord:
		if slices.Contains(k.words, s.text) {
			return s.text, nil
		}
		hint := meant(nearest(s.text, k.words))
		for word, instead := range map[string]string{"true": "on", "false": "off"} {
			if s.text == word && slices.Contains(k.words, instead) {
				hint = "write " + instead
			}
		}
		return nil, expected(k, s, hint)
	case formName:
		return k.parseName(s)
	case formPattern:
		return k.parsePattern(s)
	case formPath, formPathOrOff, formFileOrOff, formFiles:
		return k.parsePath(s, folder)
	case formBool:
		return k.parseBool(s)
	case formInt:
		n, p := k.parseNumber(s, s.text, "")
		return int(n), p
	case formRate:
		n, p := k.parseNumber(s, strings.TrimSuffix(s.text, "/s"), "/s")
		return Rate(n), p
	case formSize:
		return k.parseSize(s)
	case formDuration:
		return k.parseDuration(s)
	case formPrefix:
		return k.parsePrefix(s)
	case formInterface:
		if !isInterface(s.text) {
			return nil, expected(k, s, "ip link lists them")
		}
		return s.text, nil
	case formAddress, formAddressOrOff:
		return k.parseAddress(s)
	case formUpstream:
		return k.parseUpstream(s)
	case formServer:
		return k.parseServer(s)
	case formHost:
		return k.parseHost(s)
	case formTime, formTimeOrNow:
		return k.parseTime(s)
	case formAnswer, formHours, formURL, formTimeZone, formAnyHost:
		return k.parseFilter(s)
	}
	return nil, expected(k, s, "")
}

func meant(name string) string {
	if name == "" {
		return ""
	}
	return "did you mean " + quote(name) + "?"
}

// parseName returns the wire form of a name.
func (k *key) parseName(s scalar) (any, *problem) {
	if s.text == "" && k.hasDef && k.def == "" && !k.list {
		return []byte(nil), nil // as the values in effect have it
	}
	for _, c := range []byte(s.text) {
		if c <= ' ' || c >= 0x7F {
			return nil, expected(k, s, `write international names in their xn-- form, other octets as \DDD`)
		}
	}
	name, err := wire.ParseName(s.text)
	if err != nil {
		return nil, expected(k, s, err.Error())
	}
	if name[0] == 1 && name[1] == '*' {
		hint := "this name must not contain a star"
		if len(name) > 3 {
			hint = "write " + nameText(name[2:]) + ": it covers all names below, too"
		}
		return nil, expected(k, s, hint)
	}
	return name, nil
}

func (k *key) parseText(s scalar, most int) (any, *problem) {
	if len(s.text) > most || strings.ContainsRune(printable(s.text), '\uFFFD') || strings.ContainsRune(s.text, '\t') {
		hint := ""
		if k.value != "" {
			hint = fmt.Sprintf("it has at most %d octets of printable text", most)
		}
		return nil, expected(k, s, hint)
	}
	return s.text, nil
}

// maxText is how long a text may be: more where it is a name of the DNS, or longer by its kind.
func (k *key) maxText() int {
	if k.value != "" {
		return maxCharacterString
	}
	return maxLabel
}

func (k *key) parseUser(s scalar) (any, *problem) {
	for _, r := range s.text {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r)) {
			return nil, expected(k, s, "")
		}
	}
	if len(s.text) > maxUser || strings.HasPrefix(s.text, "-") {
		return nil, expected(k, s, "")
	}
	return s.text, nil
}

// roles are the roles, in the order of the reference.
func roles() []string {
	return []string{RoleAuthoritative, RolePublicResolver, RoleInternalResolver, RoleDomainController}
}

func (k *key) parseRole(s scalar) (any, *problem) {
	if !slices.Contains(roles(), s.text) {
		hint := meant(nearest(s.text, roles()))
		if hint == "" {
			hint = foreignRole(s.text)
		}
		return nil, expected(k, s, hint)
	}
	return s.text, nil
}

func (k *key) parsePath(s scalar, folder string) (any, *problem) {
	switch {
	case k.form != formPath && k.form != formFiles && s.text == "off": // in quotes, too: YAML 1.1 takes the bare word for false
		return "", nil
	case s.text == "" && k.hasDef && k.def == "":
		return "", nil
	case s.text == "":
		return nil, expected(k, s, "")
	case len(s.text) > maxPath || strings.ContainsRune(s.text, 0):
		return nil, expected(k, s, fmt.Sprintf("a path has at most %d octets, and no zero octet", maxPath))
	}
	path := s.text
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	path = filepath.Clean(path)
	if k.form == formPathOrOff {
		if _, err := netip.ParseAddrPort(s.text); err == nil {
			return nil, expected(k, s, "the control socket is not offered over the network")
		}
		if len(path) > maxSocketPath {
			return nil, expected(k, s, fmt.Sprintf("a socket's path has at most %d octets, this one has %d", maxSocketPath, len(path)))
		}
	}
	return path, nil
}

func (k *key) parseBool(s scalar) (any, *problem) {
	switch s.text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	switch strings.ToLower(s.text) {
	case "yes", "on", "y", "true", "1":
		return nil, expected(k, s, "write true")
	case "no", "off", "n", "false", "0":
		return nil, expected(k, s, "write false")
	}
	return nil, expected(k, s, "")
}

// parseNumber reads text as a count within the bounds of k, which may carry unit.
func (k *key) parseNumber(s scalar, text, unit string) (int64, *problem) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || text[0] == '+' || text[0] == '-' || len(text) > 1 && text[0] == '0' {
		return 0, expected(k, s, "")
	}
	if p := k.bounds(s, n, func(t string) int64 {
		m, _ := strconv.ParseInt(strings.TrimSuffix(t, unit), 10, 64)
		return m
	}); p != nil {
		return 0, p
	}
	return n, nil
}

// bounds reports a value outside of k's min and max, which read makes numbers of.
func (k *key) bounds(s scalar, n int64, read func(string) int64) *problem {
	if k.min != "" && n < read(k.min) || k.max != "" && n > read(k.max) {
		return expected(k, s, "")
	}
	return nil
}
