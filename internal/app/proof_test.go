package app_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/proof"
)

// TestProvedReadiness has a server that is to be proved be ready only while what it was told holds, and count
// and show what does not.
func TestProvedReadiness(t *testing.T) {
	r := &running{T: t, dir: t.TempDir()}
	r.write("test.zone", strings.NewReplacer("%d", "1").Replace(zoneText))
	r.write("port53.yaml", "role: authoritative\nlisten: [\"127.0.0.1:0\"]\ncontrol: {socket: control.sock}\nmetrics: {listen: \"127.0.0.1:0\"}\nzones: [{name: test, file: test.zone}]\n")
	c, err := config.Load(filepath.Join(r.dir, "port53.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, err := app.New(ctx, app.Options{Config: c, Prove: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	defer func() { cancel(); <-done }()
	get := func(path string) string {
		t.Helper()
		resp, err := (&http.Client{Timeout: patience}).Get("http://" + a.Metrics().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.Status[:3] + " " + string(text)
	}
	tell := func(p *app.Proof) error {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.RecordProof(console.Caller{UID: -1}, text)
		return err
	}
	until(t, "the start", func() string { return get("/ready") }, func() bool { return strings.Contains(get("/ready"), "not proved yet") })
	bad := proof.Line{Kind: "ask", From: "a stranger", Expected: "REFUSED", Seen: "NOERROR", State: proof.Violated}
	if err := tell(app.NewProof([]proof.Line{bad, {State: proof.Holds}, {State: proof.Unknown}}, time.Now())); err != nil {
		t.Fatal(err)
	}
	if got := get("/ready"); !strings.HasPrefix(got, "503 the contract is violated: violated ask") {
		t.Error(got)
	}
	if got := get("/metrics"); !strings.Contains(got, "\nport53_contract_violations 1\n") || !strings.Contains(got, "\nport53_contract_unknown 1\n") {
		t.Error(got)
	}
	if st, err := a.Status("", ""); err != nil || st.(app.Status).Proof == nil || len(st.(app.Status).Proof.Violated) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := tell(app.NewProof([]proof.Line{{State: proof.Holds}}, time.Now())); err != nil {
		t.Fatal(err)
	}
	if got := get("/ready"); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
	if err := tell(app.NewProof(nil, time.Now().Add(-3*time.Hour))); err != nil {
		t.Fatal(err)
	}
	if got := get("/ready"); !strings.HasPrefix(got, "503 the contract was last proved at") {
		t.Error(got)
	}
	if _, err := a.RecordProof(console.Caller{}, []byte("{")); err == nil {
		t.Error("what is not a proof was taken")
	}
}
