package config

// resolverSection is the path of the resolver's keys.
const resolverSection = "resolver"

// checkResolver reports what of the resolver's part does not go together, or is
// not safe.
func (d *decoder) checkResolver() {
	if d.config.Role == RoleAuthoritative {
		if at, set := d.at(resolverSection); set {
			d.fail(at, "resolver: an authoritative server resolves nothing for others", "remove the section, or choose role: internal-resolver")
		}
	}
}
