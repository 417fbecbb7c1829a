package chain

import "strconv"

// DurationText writes seconds as dig and BIND do, 1w2d3h4m5s, in so many units at most, the
// largest first.
func DurationText(seconds uint32, units int) string {
	if seconds == 0 {
		return "0s"
	}
	text, n := "", 0
	for _, u := range [...]struct {
		size uint32
		name string
	}{{7 * 86400, "w"}, {86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if c := seconds / u.size; c > 0 {
			text += strconv.FormatUint(uint64(c), 10) + u.name
			seconds %= u.size
		}
		if text != "" {
			n++
		}
		if n == units {
			break
		}
	}
	return text
}
