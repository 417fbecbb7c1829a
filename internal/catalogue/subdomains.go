package catalogue

import (
	_ "embed"
	"strings"
)

//go:embed words.txt
var words string

// Words returns the labels that subdomain discovery tries, 5,000 of them, the
// commonest first.
func Words() []string { return strings.Fields(words) }

// Permutations returns labels made from one that was found, as people make them.
func Permutations(label string) []string {
	var out []string
	for _, s := range []string{"dev", "test", "stage", "prod", "old", "new", "int", "1", "2", "01", "02"} {
		out = append(out, label+"-"+s, s+"-"+label)
		if s[0] <= '9' {
			out = append(out, label+s)
		}
	}
	return out
}
