package config

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"port53/internal/wire"
)

// What an error proposes is copied into the file as it stands: only what the key takes is proposed.

// propose returns a hint if the key takes all values that it has; else "".
func (k *key) propose(hint string, values ...string) string {
	for _, text := range values {
		if _, p := k.parse(scalar{text: text, quoted: k.form == formText || k.form == formHidden || k.form == formSecret}, "/"); p != nil {
			return ""
		}
		if !k.takesText(text) {
			return ""
		}
	}
	return hint
}

// takesText reports whether a text will do for what is looked at once all keys are read.
func (k *key) takesText(text string) bool {
	switch {
	case k.form == formSecret:
		_, err := secret(text)
		return err == nil
	case k.path == "remotes[].name":
		return remoteName(text)
	case k.path == "policy.lists[].name":
		return filterName(text)
	case k.form != formText || k.value == "" || strings.HasPrefix(k.value, "the name of "):
		return true
	case k.value == "64 hexadecimal digits":
		return len(text) == 64 && strings.Trim(text, "0123456789abcdefABCDEF") == ""
	}
	return false // of these kinds no number is one
}

// inQuotes is the hint for a number where a text is due.
func (k *key) inQuotes(s scalar) string {
	if k.form == formSecret {
		return k.propose("write it in quotes", s.text) // and not here: errors end up in logs
	}
	return k.propose(`write it in quotes: "`+s.text+`"`, s.text)
}

// withoutQuotes is the hint for a text where a number is due, or true or false.
func (k *key) withoutQuotes(s scalar) string {
	if _, p := k.parse(scalar{text: s.text}, "/"); p != nil {
		return p.hint
	}
	return "write it without quotes"
}

// allAddresses is the hint for an address that stands for all, as other servers write it: *, *:53 or :53.
func (k *key) allAddresses(text string) string {
	port := strings.TrimLeft(text, "*")
	four, six := "0.0.0.0"+port, "[::]"+port
	if hint := k.propose(`write "`+four+`" for all of IPv4, "`+six+`" for all of IPv6`, four, six); hint != "" {
		return hint
	}
	if p := badPort(scalar{text: four}, false); p != nil && k.form != formUpstream && k.form != formServer {
		return p.hint
	}
	return ""
}

// masked is the hint for a network with bits beyond its prefix.
func (k *key) masked(n netip.Prefix) string {
	if strings.HasSuffix(k.path, "dns64.prefix") && !dns64Prefix(n) {
		return "bits beyond the prefix are set"
	}
	return "bits beyond the prefix are set: write " + yamlText(n.String())
}

// plainServer is the hint for a server with a scheme or a name where servers are asked over UDP and TCP alone.
func (k *key) plainServer(text, extra string) string {
	if _, rest, found := strings.Cut(text, "://"); found {
		text = rest
	}
	if end := strings.IndexAny(text, "/#"); end >= 0 {
		text = text[:end]
	}
	if hint := k.propose("servers are asked over UDP and TCP: write "+yamlText(text), text); hint != "" {
		return hint
	}
	return "servers are asked over UDP and TCP: write the address without " + quote(extra)
}

// namedServer is the hint for a server by its name, which is not looked up.
func (k *key) namedServer(scheme, rest, path string) string {
	if host, port, found := strings.Cut(rest, ":"); found && strings.Trim(port, "0123456789") == "" {
		rest = host
	}
	example := scheme + "://192.0.2.1" + path + "#"
	const hint = "names are not looked up: write the address, and the name behind #, as "
	if named := k.propose(hint+example+printable(rest), example+rest); named != "" {
		return named
	}
	return hint + scheme + "://192.0.2.1#dns.example"
}

// withAddress puts the address that n is, if it is one, where a hint has an example: it is to be copied as it stands.
func withAddress(hint string, n ast.Node) string {
	s, ok := n.(ast.ScalarNode)
	if !ok {
		return hint
	}
	text := scalarOf(s).text
	k := &key{form: formUpstream, port: 53}
	if strings.Contains(hint, "listen: ") || strings.Contains(hint, "dot: ") {
		k.form = formAddress
	}
	if k.propose(hint, text) == "" {
		return hint
	}
	if strings.Contains(text, ":") {
		text = strconv.Quote(text)
	}
	return strings.Replace(hint, "[192.0.2.1]", "["+text+"]", 1)
}

// fileOf is the file of a zone, for a hint.
func fileOf(zone []byte) string { return yamlText(expand("%s.zone", wire.Lower(nil, zone))) }

// unquoted is the hint for an address or a network of IPv6 in brackets, which YAML takes for a block.
func unquoted(k *key, n ast.Node) string {
	values, ok := pairs(n)
	if !ok || len(values) != 1 {
		return ""
	}
	s, ok := values[0].Value.(ast.ScalarNode)
	if !ok {
		return ""
	}
	text := keyText(values[0].Key) + ":" + scalarOf(s).text
	if network, err := netip.ParsePrefix(text); err == nil {
		text = network.Masked().String()
	} else if _, err := netip.ParseAddr(text); err != nil {
		return ""
	}
	return k.propose("write it in quotes: "+strconv.Quote(text), text)
}
