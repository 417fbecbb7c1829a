package app

import "testing"

// TestUUID compares with the UUID of a name that RFC 9562 has (appendix A.4).
func TestUUID(t *testing.T) {
	if got := uuidOf("www.example.com"); got != "2ED6657D-E927-568B-95E1-2665A8AEA6A2" {
		t.Error(got)
	}
}
