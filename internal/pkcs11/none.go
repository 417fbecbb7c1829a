//go:build !pkcs11

package pkcs11

import "crypto"

// Built reports whether this program reaches tokens.
const Built = false

// Stores are the key stores of a configuration: none can be used.
type Stores struct{}

// New returns the stores.
func New([]Options) *Stores { return &Stores{} }

// Open returns no error: there is nothing to open.
func (*Stores) Open() []error { return nil }

// Generate returns [ErrNotBuilt].
func (*Stores) Generate(string, uint8, func(crypto.PublicKey) string) (string, crypto.Signer, error) {
	return "", nil, ErrNotBuilt
}

// Key returns [ErrNotBuilt].
func (*Stores) Key(string, crypto.PublicKey) (crypto.Signer, error) { return nil, ErrNotBuilt }

// Destroy returns [ErrNotBuilt].
func (*Stores) Destroy(string) error { return ErrNotBuilt }
