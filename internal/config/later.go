package config

import (
	"slices"
	"strings"
)

// laterKeys are the keys that port53 will have and this version does not, by
// their path in the table, and what to do until then.
func laterKeys() map[string]string {
	const (
		timers = "a zone has the times of its SOA record; leave the key out"
	)
	return map[string]string{
		"ad":    "it needs the domain controller; leave it out",
		"store": "zones are files; leave it out",

		"resolver.limits.answer_age": "answers are sent however long they took; resolver.limits.reply_time says by when there is one",

		"resolver.local_root": "the resolver does not read zones yet; leave the key out, negative answers of the root " +
			"are proven from the cache",

		"zones.expire_min": timers,
		"zones.history":    "as much is kept as the zone is large; leave the key out",

		"resolver.forward.private": "list the zone in resolver.private_zones, if it is found by iteration at times",

		"identity.contact": "leave it out",
	}
}

// laterNames returns the names of the keys that will be in a section, sorted.
func laterNames(section *key) []string {
	above := strings.TrimPrefix(section.path+".", ".")
	var names []string
	for path := range laterKeys() {
		if name, ok := strings.CutPrefix(path, above); ok && !strings.Contains(name, ".") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
