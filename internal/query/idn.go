package query

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// idnProfile is how names beyond ASCII are read and written (RFC 5890, with the mapping of UTS 46):
// an underscore is no error, and ß stays ß.
func idnProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.BidiRule())
}

// idnDots are the full stops of other scripts (RFC 3490, section 3.1), which stand between labels too.
var idnDots = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")

// ToASCII returns a name with its labels beyond ASCII as xn--…, and the others as they are.
func ToASCII(name string) (string, error) {
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return name, nil
	}
	labels := strings.Split(idnDots.Replace(name), ".")
	for i, label := range labels {
		if strings.IndexFunc(label, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
			continue
		}
		ascii, err := idnProfile().ToASCII(label)
		if err != nil || strings.ContainsRune(label, '\\') {
			return "", fmt.Errorf("%q is no label of a name (IDNA): octets go as \\DDD", label)
		}
		labels[i] = ascii
	}
	return strings.Join(labels, "."), nil
}

// idnLabel is a label that stands for another one. Base64 has no hyphens.
var idnLabel = regexp.MustCompile(`(?i)(^|[.\s;])xn--[a-z0-9-]+`)

// withUnicode returns text of names and data with labels such as xn--… as what they stand for,
// where that can be printed, and is no other name's spelling. Strings in quotes are data.
func withUnicode(text string) string {
	parts := strings.Split(text, `"`)
	for i := 0; i < len(parts); i += 2 {
		parts[i] = idnLabel.ReplaceAllStringFunc(parts[i], func(found string) string {
			at := strings.Index(strings.ToLower(found), "xn--")
			label := found[at:]
			said, err := idnProfile().ToUnicode(label)
			back, err2 := idnProfile().ToASCII(said)
			if err != nil || err2 != nil || !strings.EqualFold(back, label) ||
				strings.IndexFunc(said, func(r rune) bool { return !unicode.IsPrint(r) || r == '.' || r == '"' }) >= 0 {
				return found
			}
			return found[:at] + said
		})
	}
	return strings.Join(parts, `"`)
}
