//go:build !lean

package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"port53/internal/certs"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/server"
	"port53/internal/telemetry"
	"port53/internal/web"
)

// A webConsole is the console of a server, if it has one.
type webConsole struct {
	listener net.Listener // nil: nowhere
	keeper   *certs.Manager
	secret   string // of the client at the provider
	server   *web.Server
}

// UsersFile is the file in the state directory with those who may sign in to the console.
const UsersFile = "users"

// listenConsole binds the address of the console, and reads what root alone may read.
func (a *App) listenConsole(c *config.Config) (err error) {
	o := &c.Console
	if !o.Listen.IsValid() {
		return nil
	}
	if len(o.Pairs()) > 0 {
		if a.console.keeper, err = certs.NewManager(o.Pairs()); err != nil {
			return fmt.Errorf("console: %w", err)
		}
	}
	if o.OIDC.SecretFile != "" {
		text, err := os.ReadFile(o.OIDC.SecretFile)
		if err != nil {
			return fmt.Errorf("console.oidc.secret_file: %w", err)
		}
		a.console.secret = string(bytes.TrimSpace(text))
	}
	if a.console.listener, err = server.ListenTCP(o.Listen); err != nil {
		return fmt.Errorf("console: %w; to disable it, set console: {listen: off}", err)
	}
	return nil
}

// openConsole reads its users, once the state directory is the server's.
func (a *App) openConsole(c *config.Config) (err error) {
	w := &a.console
	if w.listener == nil {
		return nil
	}
	at, _ := w.listener.Addr().(*net.TCPAddr)
	o := web.Options{
		API: a.own.ServeAs, Certificate: apiHost{a}.CertificateHolder, Users: userStore{a}, Listen: at.AddrPort(),
		Origin: c.Console.Origin, Log: a.log,
		Audit: func(by, what string, err error) {
			act := telemetry.AuditRecord{Operation: telemetry.Commanded, By: by, Text: what}
			if err != nil {
				act.Outcome, act.Reason = telemetry.Refused, err.Error()
			}
			a.audit.Record(&act)
		},
		About: func() web.About { return web.About{Started: a.started, Healthy: a.reloads.healthy()} },
	}
	if w.keeper != nil {
		o.TLS = w.keeper.Server(a.knowsCertificates, certs.H2, certs.H1)
	}
	if p := &c.Console.OIDC; p.Issuer != "" {
		o.OIDC = &web.OIDC{Issuer: p.Issuer, Client: p.Client, Secret: w.secret, Groups: map[string]string{}, HTTP: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
				TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		for _, g := range p.Groups {
			o.OIDC.Groups[g.Group] = g.Role
		}
	}
	w.server, err = web.New(o)
	return err
}

// userStore keeps the users in the state directory.
type userStore struct{ *App }

// Load implements [web.Store].
func (s userStore) Load() ([]byte, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return s.added.readFile(UsersFile)
}

// Save implements [web.Store].
func (s userStore) Save(text []byte) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.ownState(); err != nil {
		return err
	}
	return s.added.writeFile(UsersFile, text)
}

// serveConsole answers browsers until ctx ends.
func (a *App) serveConsole(ctx context.Context) {
	w := &a.console
	if w.server == nil {
		return
	}
	if w.keeper != nil {
		go a.followFiles(ctx, w.keeper, "the console")
	}
	if err := w.server.Serve(ctx, w.listener); err != nil {
		a.log.Error("the console ended", "error", err.Error())
	}
}

var errNoConsole = errors.New(
	"the console is disabled: set console: {listen: 127.0.0.1:8080} and restart the server",
)

// ConsoleLink returns a link that signs in to the console, once, as who may do all; empty: there is no
// console.
func (a *App) ConsoleLink(by string) (string, error) {
	if a.console.server == nil {
		return "", errNoConsole
	}
	l, err := a.console.server.Link(by, "")
	if err != nil {
		return "", err
	}
	return l.URL, nil
}

// Console implements [console.Admin].
func (a *App) Console(by console.Caller, action string, what []byte) (any, error) {
	w := a.console.server
	if w == nil {
		return nil, errNoConsole
	}
	var body web.NewUser
	if len(what) > 0 {
		if err := json.Unmarshal(what, &body); err != nil {
			return nil, fmt.Errorf("the user cannot be read: %w", err)
		}
	}
	switch action {
	case "link":
		return w.Link(by.String(), body.Name)
	case "users":
		return w.Users(), nil
	case "add":
		l, err := w.AddUser(by.String(), body)
		if err != nil || l == nil {
			return consoleDone(body.Name), err
		}
		return l, nil
	case "remove":
		return consoleDone(body.Name), w.RemoveUser(body.Name)
	}
	return nil, errors.New("unknown console command")
}

// consoleDone is what there is to tell of a user, and what the audit has of it.
type consoleDone string

// Note is for the audit.
func (d consoleDone) Note() string { return string(d) }
