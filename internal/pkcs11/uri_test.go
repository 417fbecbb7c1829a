package pkcs11

import (
	"errors"
	"testing"
)

// TestURI reads URIs as tokens and BIND's key files have them, and writes them the same way. No PIN is in
// what is written.
func TestURI(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"pkcs11:", "pkcs11:", ""},
		{"pkcs11:token=dns%20sec", "pkcs11:token=dns%20sec", ""},
		{"pkcs11:object=k;token=a;id=%01%fF;type=private", "pkcs11:token=a;object=k;id=%01%FF;type=private", ""},
		{"pkcs11:id=a1", "pkcs11:id=%61%31", ""},
		{"pkcs11:token=bind9;object=example-csk;pin-source=/run/pin", "pkcs11:token=bind9;object=example-csk", ""},
		{"pkcs11:token=a;object=k;pin-value=1907?pin-value=1907&module-path=/m.so", "pkcs11:token=a;object=k", ""},
		{"pkcs11:token=a;library-version=3.0", "pkcs11:token=a", ""},
		{"token=a", "", "expected a URI such as pkcs11:token=dnssec"},
		{"pkcs11:tokn=a", "", `"tokn" is not known: expected attributes such as token=dnssec, separated by semicolons`},
		{"pkcs11:token=a;token=b", "", "a second token"},
		{"pkcs11:token=%4", "", "token: expected two hexadecimal digits behind %"},
		{"pkcs11:slot-id=x", "", "slot-id: expected a number"},
	} {
		u, err := ParseURI(c.text)
		if text := ""; err != nil {
			if text = err.Error(); text != c.err {
				t.Errorf("%s: error %q, want %q", c.text, text, c.err)
			}
			continue
		}
		if got := u.String(); got != c.want || c.err != "" {
			t.Errorf("%s: got %s, want %s%s", c.text, got, c.want, c.err)
		}
	}
	if _, err := ParseToken("pkcs11:token=a?pin-source=/run/pin"); !errors.Is(err, ErrPIN) {
		t.Errorf("a token's URI with pin-source: %v", err)
	}
	if _, err := ParseToken("pkcs11:token=a;object=k"); err == nil {
		t.Error("a key's URI is taken for a token's")
	}
}

// TestURIFits has keys be looked for in the tokens that their URIs may mean.
func TestURIFits(t *testing.T) {
	for _, c := range []struct {
		token, key string
		want       bool
	}{
		{"pkcs11:token=a", "pkcs11:token=a;object=k", true},
		{"pkcs11:token=a", "pkcs11:token=b;object=k", false},
		{"pkcs11:token=a;serial=1", "pkcs11:token=a;object=k", true},
		{"pkcs11:token=a;serial=1", "pkcs11:token=a;serial=2;object=k", false},
		{"pkcs11:serial=1", "pkcs11:token=a;object=k", false},
		{"pkcs11:", "pkcs11:object=k", true},
	} {
		token, err := ParseToken(c.token)
		key, err2 := ParseURI(c.key)
		if got := token.fits(key); got != c.want || err != nil || err2 != nil {
			t.Errorf("%s in %s: %v, %v, %v", c.key, c.token, got, err, err2)
		}
	}
}
