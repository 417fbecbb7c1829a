package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// crunScript runs a bundle in a network and with control groups of its own, and says what its health check and port53 check say.
const crunScript = `set -e
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup || mount -t tmpfs none /sys/fs/cgroup # crun takes no mixture of both versions
cd "$1"
crun="crun --root $1/state --cgroup-manager=disabled"
$crun run -b . it >log 2>&1 &
trap '$crun kill it KILL; wait' EXIT
n=0; until $crun exec --user 65532:65532 it $2; do n=$((n + 1)); test $n -lt 100 || { cat log; exit 1; }; sleep 0.1; done
$crun exec --user 65532:65532 it /port53 check 127.0.0.1 --zone good.test
$crun exec --user 65532:65532 it /port53 query @127.0.0.1 www.good.test A +short`

// TestImage runs the image with crun: as a user without rights, without capabilities and with a root that nothing can be written
// to. Its health check is content, and so is port53 check.
func TestImage(t *testing.T) {
	needRoot(t)
	need(t, "crun", "unshare", "tar")
	dir := t.TempDir()
	say(t, "tar", "-xf", one(t, "_oci.tar"), "-C", dir)
	img := imageIn(t, dir)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir()
	root := filepath.Join(bundle, "rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(img)
	unpack := exec.Command("tar", "-xpf", "-", "-C", root)
	unpack.Stdin = files
	if said, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	files.Close()
	for name, text := range map[string]string{
		"port53.yaml": "role: authoritative\nlisten: [127.0.0.1]\nzones: [{name: good.test, file: good.zone}]\n",
		"good.zone":   "$TTL 3600\n@ SOA ns1 host 1 14400 3600 604800 3600\n@ NS ns1\nns1 A 5.1.0.1\nwww A 5.0.0.80\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc/port53", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := bundleOf(bundle, config); err != nil {
		t.Fatal(err)
	}
	health := config.Config.Healthcheck.Test
	if len(health) < 2 || health[0] != "CMD" {
		t.Fatalf("%q", health)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "sh", "-c", crunScript, "sh", bundle, strings.Join(health[1:], " "))
	said, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "nothing wrong was found") || !strings.HasSuffix(string(said), "5.0.0.80\n") {
		t.Errorf("%v\n%s", err, said)
	}
}

// imageIn returns the image of this architecture in a layout.
func imageIn(t *testing.T, dir string) v1.Image {
	t.Helper()
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := outer.IndexManifest()
	if err != nil || len(list.Manifests) != 1 {
		t.Fatal(err, list)
	}
	index, err := outer.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if list, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Manifests {
		if m.Platform != nil && m.Platform.Architecture == "amd64" {
			img, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
	}
	t.Fatal("no image for amd64")
	return nil
}

// bundleOf writes config.json for the image as compose.yaml runs it.
func bundleOf(dir string, image *v1.ConfigFile) error {
	cmd := exec.Command("crun", "spec")
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		return err
	}
	file := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	process, linux := spec["process"].(map[string]any), spec["linux"].(map[string]any)
	process["terminal"], process["noNewPrivileges"] = false, true
	process["user"] = map[string]int{"uid": nobody, "gid": nobody}
	process["args"] = append(append([]string{}, image.Config.Entrypoint...), image.Config.Cmd...)
	process["cwd"] = image.Config.WorkingDir
	delete(process, "capabilities")
	spec["root"] = map[string]any{"path": "rootfs", "readonly": true}
	linux["sysctl"] = map[string]string{"net.ipv4.ip_unprivileged_port_start": "53"}
	mounts := spec["mounts"].([]any)
	for _, d := range []string{"/run/port53", "/var/lib/port53"} {
		mounts = append(mounts, map[string]any{"destination": d, "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "nodev", "uid=65532", "gid=65532", "mode=750"}})
	}
	spec["mounts"] = mounts
	if text, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}
