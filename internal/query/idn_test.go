package query

import "testing"

func TestIDN(t *testing.T) {
	for name, want := range map[string]string{
		"bücher.test": "xn--bcher-kva.test", "BÜCHER.Test.": "xn--bcher-kva.Test.", "straße.test": "xn--strae-oqa.test", "_sip._tcp.bücher.test": "_sip._tcp.xn--bcher-kva.test",
		"bücher。test": "xn--bcher-kva.test", "plain\\.dot.test": "plain\\.dot.test", "例え.テスト": "xn--r8jz45g.xn--zckzah",
	} {
		if got, err := ToASCII(name); got != want || err != nil {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
		if want := withUnicode(want); want != withUnicode(withUnicode(want)) {
			t.Errorf("%s changes twice", want)
		}
	}
	for _, bad := range []string{"b\\252ü.test", "ü\u202etxt.test", "\u0300x.test", "a\u200b\u05d0b.test"} {
		if got, err := ToASCII(bad); err == nil {
			t.Errorf("%q is %q", bad, got)
		}
	}
	for text, want := range map[string]string{
		"xn--bcher-kva.test.":                       "bücher.test.",
		"10 mail.XN--BCHER-KVA.test.":               "10 mail.bücher.test.",
		`0 issue "xn--bcher-kva.test"`:              `0 issue "xn--bcher-kva.test"`,
		"axn--bcher-kva.test.":                      "axn--bcher-kva.test.",
		"xn--zzzzzz.test. xn--a.test. xn--.test.":   "xn--zzzzzz.test. xn--a.test. xn--.test.",
		"xn--zckzah. xn--strae-oqa. xn--strasse-.x": "テスト. straße. xn--strasse-.x",
	} {
		if got := withUnicode(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
