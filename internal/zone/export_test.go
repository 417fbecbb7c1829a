package zone

// Patched reports whether a version shares the nodes of the one before.
func (z *Zone) Patched() bool { return z.over != nil }
