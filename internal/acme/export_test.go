package acme

import (
	"context"
	"crypto/x509"
	"time"
)

var Backoff = backoff

// OrderBefore orders a certificate in the place of another at a time.
func OrderBefore(o Options, before *x509.Certificate, now time.Time) error {
	m := New(o)
	m.now = func() time.Time { return now }
	_, err := m.order(context.Background(), before)
	return err
}
