package catalogue_test

import (
	"flag"
	"testing"
)

// atOneTime is how many tests run at one time: they wait for answers, and for silence, more than they work.
const atOneTime = "16"

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", atOneTime)
	m.Run()
}
