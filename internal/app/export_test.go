package app

import "time"

// Certificates looks at the files of certificates, as it is done every ten seconds.
func (a *App) Certificates(now time.Time) { a.lookAtCertificates(now) }
