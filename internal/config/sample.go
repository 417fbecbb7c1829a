package config

import "fmt"

// Sample returns a short commented file to begin with, for a role.
func Sample(role string) ([]byte, error) {
	switch role {
	case RoleAuthoritative:
		return []byte(sampleAuthoritative), nil
	case RolePublicResolver:
		return []byte(samplePublic + sampleTail), nil
	case RoleInternalResolver:
		return []byte(sampleInternal + sampleTail), nil
	case RoleDomainController:
		return []byte(sampleDomainController + sampleTail), nil
	}
	return nil, fmt.Errorf("role %s is not known; the roles are %s", quote(role), oneOf(roles()))
}

const sampleAuthoritative = `# port53 as an authoritative server. Commented-out keys show their defaults.
# All keys: docs/CONFIG.md. Check this file: port53 config check --config port53.yaml
role: authoritative

# UDP and TCP on each address, port 53 unless given. To serve everyone:
# listen: [0.0.0.0, "::"]
listen: [127.0.0.1, "::1"]

# The user to switch to once port 53 is bound; not needed under systemd.
# user: port53

zones:
  - name: example.com
    file: example.com.zone    # relative to this file's directory

# Who may ask. Everyone, unless networks are listed.
# policy:
#   allow: [192.0.2.0/24, "2001:db8::/32"]
#   rate_limit: {enabled: true, per_second: 20/s, burst: 100}

# Prometheus metrics, at http://127.0.0.1:9153/metrics.
# metrics: {listen: "127.0.0.1:9153"}

# log: {level: info, format: text, queries: off}
`

const sampleInternal = `# port53 as a validating resolver for a network. Commented-out keys show their defaults.
# All keys: docs/CONFIG.md. Check this file: port53 config check --config port53.yaml
role: internal-resolver

# UDP and TCP on each address, port 53 unless given. To serve the network:
# listen: [0.0.0.0, "::"]
listen: [127.0.0.1, "::1"]

# The user to switch to once port 53 is bound; not needed under systemd.
# user: port53

# Local zones.
# zones: [{name: lan.example, file: lan.zone}]

resolver:
  # Clients allowed to use recursion: this machine and the private networks of its
  # interfaces, unless networks are listed. Public networks have to be listed.
  # allow: [10.0.0.0/8, 192.168.0.0/16, "fd00::/8"]

  # Names to ask other servers for: forward to resolvers, stub to authoritative
  # servers. Everything else is resolved from the root down.
  # forward: [{zone: corp.example, to: [10.0.0.5, 10.0.0.6]}]
  # stub: [{zone: 10.in-addr.arpa, to: [10.0.0.5]}]

  # cache: {size: 64MiB, serve_stale: true}
`

const samplePublic = `# port53 as a resolver for everyone. Commented-out keys show their defaults.
# All keys: docs/CONFIG.md. Check this file: port53 config check --config port53.yaml
role: public-resolver

# UDP and TCP on each address, port 53 unless given. To serve everyone:
# listen: [0.0.0.0, "::"]
listen: [127.0.0.1, "::1"]

# The user to switch to once port 53 is bound; not needed under systemd.
# user: port53

resolver:
  # cache: {size: 256MiB, serve_stale: true}

# Replies per second to one client network for one kind of answer. The limit can be
# changed but not turned off.
# policy:
#   rate_limit: {per_second: 100/s, burst: 500, ceiling: 2000/s}
`

const sampleDomainController = `# port53 beside the domain controllers of a network. Commented-out keys show their
# defaults. All keys: docs/CONFIG.md. Check this file: port53 config check --config port53.yaml
role: domain-controller

# UDP and TCP on each address, port 53 unless given. To serve the network:
# listen: [0.0.0.0, "::"]
listen: [127.0.0.1, "::1"]

# The user to switch to once port 53 is bound; not needed under systemd.
# user: port53

# Local zones.
# zones: [{name: lan.example, file: lan.zone}]

resolver:
  # Clients allowed to use recursion: this machine and the private networks of its
  # interfaces, unless networks are listed. Public networks have to be listed.
  # allow: [10.0.0.0/8, "fd00::/8"]

  # The domain's own names are answered by its controllers.
  stub:
    - {zone: ad.example, to: [10.0.0.5, 10.0.0.6]}

  # A private domain that does not exist in the public DNS is not validated.
  # negative_trust_anchors: [{name: ad.example, until: 2036-01-01}]

  # All other names are resolved from the root down, or forwarded.
  # forward: [{zone: ., to: [10.0.0.1]}]
`

const sampleTail = `
# Prometheus metrics, at http://127.0.0.1:9153/metrics.
# metrics: {listen: "127.0.0.1:9153"}

# log: {level: info, format: text, queries: off}
`
