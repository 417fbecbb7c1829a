package app

import (
	"fmt"
	"os"
	"syscall"

	"port53/internal/config"
	"port53/internal/securepath"
	"port53/internal/telemetry"
)

// auditMode is for the file of the audit: it tells who does what.
const auditMode = 0o640

// newAuditFile has the audit go into a file as well, which has yet to be opened.
func (a *App) newAuditFile(c *config.Config) {
	if c.API.Listen.IsValid() || c.Console.Listen.IsValid() {
		a.audit.Remember()
	}
	if c.Audit.File == "" {
		return
	}
	a.acts = telemetry.NewAuditFile(func(err error) {
		if err != nil {
			a.log.Error(
				"the audit log cannot be written: lost lines are counted in port53_audit_lost_total",
				"error",
				err.Error(),
			)
		} else {
			a.log.Info("the audit log can be written again")
		}
	})
	a.audit.SetFile(a.acts)
}

// openAudit opens the file of the audit, as the user who serves: logrotate may have moved the one that is
// open.
func (a *App) openAudit() error {
	if a.acts == nil {
		return nil
	}
	f, err := securepath.Append(a.startedWith.Audit.File, auditMode)
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	a.acts.SetOutput(f)
	return nil
}

// followAudit has what is written follow on what an earlier run has written. It is called once, before the
// first act.
func (a *App) followAudit() error {
	if a.acts == nil {
		return nil
	}
	// It may be a FIFO, which is not waited for.
	f, err := os.OpenFile(a.startedWith.Audit.File, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		err = a.acts.Follow(f)
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("audit.file: the server reads its last line, which the next one follows: %w", err)
	}
	return nil
}
