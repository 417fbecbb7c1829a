package config

import (
	"fmt"
	"slices"
)

// Sample returns a short commented file to begin with, for a role. It is an
// error if this version does not have the role.
func Sample(role string) ([]byte, error) {
	switch {
	case role == RoleAuthoritative:
		return []byte(sampleAuthoritative), nil
	case slices.Contains(roles(), role):
		return nil, fmt.Errorf("role %s needs the resolver, which this version does not have", role)
	}
	return nil, fmt.Errorf("role %s is not known; the roles are %s", quote(role), oneOf(roles()))
}

const sampleAuthoritative = `# port53 as an authoritative server. What is commented out has its default.
# All keys: docs/CONFIG.md. Check this file: port53 config check --config port53.yaml
role: authoritative

# UDP and TCP on each address, port 53 unless given. To serve everyone:
# listen: [0.0.0.0, "::"]
listen: [127.0.0.1, "::1"]

# The user to become once port 53 is bound; not needed under systemd.
# user: port53

zones:
  - name: example.com
    file: example.com.zone    # seen from the folder of this file

# Who may ask. Everyone, unless networks are listed.
# policy:
#   allow: [192.0.2.0/24, "2001:db8::/32"]
#   rate_limit: {enabled: true, per_second: 20/s, burst: 100}

# Prometheus counters, at http://127.0.0.1:9153/metrics.
# metrics: {listen: "127.0.0.1:9153"}

# log: {level: info, format: text, queries: off}
`
