package app

import (
	"time"

	"port53/internal/config"
)

// Configured returns the configuration of the generation that serves.
func (a *App) Configured() *config.Config { return a.current.Load().config }

// Certificates looks at the files of certificates, as it is done every ten seconds.
func (a *App) Certificates(now time.Time) { a.lookAtCertificates(now) }
