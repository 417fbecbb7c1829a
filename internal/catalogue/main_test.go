package catalogue_test

import (
	"flag"
	"testing"
)

// atOneTime is how many tests run at the same time: they wait for answers, and for silence, more than they work. Under the race
// detector, which has the short ones run, they work too: there it is as many as there are processors.
const atOneTime = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	if !testing.Short() {
		_ = flag.Set("test.parallel", atOneTime)
	}
	m.Run()
}
