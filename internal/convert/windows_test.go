package convert_test

import (
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"port53/internal/convert"
)

const windowsSettings = `================ DNS Server Configuration ================
Server: dc1.ad.test

[Server]
Version=0x585d0a06
ListenAddresses=ADDRLIST:10.0.0.5,127.0.0.1
Forwarders=ADDRLIST:192.0.2.1,192.0.2.2
IsSlave=1
MaxCacheTtl=86400
ScavengingInterval=168
[.]
Type=Cache
[TrustAnchors]
Type=Primary
[ad.test]
Type=Primary
DsIntegrated=1
AllowUpdate=2
SecureSecondaries=2
SecondaryServers=ADDRLIST:10.0.0.6
NotifyServers=ADDRLIST:10.0.0.6
[files.test]
Type=Primary
DatabaseFile=files.test.dns
SecureSecondaries=3
[gone.test]
Type=Primary
[second.test]
Type=Secondary
Masters=ADDRLIST:10.0.0.9
[partner.test]
Type=Forward
Forwarders=ADDRLIST:198.51.100.7
[stub.test]
Type=Stub
Masters=ADDRLIST:10.0.0.8
`

// TestWindows reads the settings of a Microsoft DNS server, with the zones that are beside them.
func TestWindows(t *testing.T) {
	unicode := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(windowsSettings)) {
		unicode = append(unicode, byte(u), byte(u>>8))
	}
	for name, text := range map[string][]byte{"ANSI": []byte(windowsSettings), "UTF-16": unicode} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"DnsSettings.txt": string(text),
				"ad.test.dns":     ";\r\n;  Database file (null) for ad.test zone.\r\n;\r\n\r\n@  IN SOA dc1.ad.test. hostmaster.ad.test. (\r\n  12 900 600 86400 3600 )\r\n@ NS dc1.ad.test.\r\ndc1 [AGE:3654321] 1200 A 10.0.0.5\r\n@ 0 WINS L1 C900 ( 10.0.0.9\r\n 10.0.0.10 )\r\nlast A 10.0.0.7\r\n",
				"files.test.dns":  "@ IN SOA dc1.ad.test. h.ad.test. 1 2 3 4 5\n@ NS dc1.ad.test.\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r, err := convert.File(convert.Options{Path: filepath.Join(dir, "DnsSettings.txt"), Addrs: machine})
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != "windows" {
				t.Errorf("taken for %s", r.Kind)
			}
			notes := ""
			for _, n := range r.Notes {
				notes += n.String() + "\n"
			}
			expect(t, "configuration", body(r), `listen: ["10.0.0.5", "127.0.0.1"]`, `{zone: ".", to: ["192.0.2.1", "192.0.2.2"]}`, `{zone: "partner.test", to: ["198.51.100.7"]}`,
				`{zone: "stub.test", to: ["10.0.0.8"]}`, `primaries: ["10.0.0.9"]`, "file: \"zones/ad.test.zone\"", `allow_transfer: ["10.0.0.6"]`, `notify: ["10.0.0.6"]`,
				"files.test.dns", "max_ttl: 86400s", "!gone.test", "!TrustAnchors")
			expect(t, "notes", notes, "not converted: AllowUpdate 2", "not converted: gone.test: its records are not here: dnscmd /ZoneExport gone.test gone.test.dns", "not converted: clients: strangers do not get recursion", "changed: TrustAnchors")
			expect(t, "zone", string(r.Files["zones/ad.test.zone"]), "; @ 0 WINS", ";  10.0.0.10 )", "dc1  1200 A 10.0.0.5", "last A 10.0.0.7")
			load(t, r)
			if t.Failed() {
				t.Log(notes)
			}
		})
	}
}
