package storetest_test

import (
	"testing"

	"port53/internal/store"
	"port53/internal/store/storetest"
	"port53/internal/zone"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func() storetest.Medium { return storetest.NewMemory() })
}

// A careless store is a Memory with a fault.
type careless struct {
	*storetest.Memory
	fault string
}

func (c *careless) Open() storetest.Store { return c }

func (c *careless) Append(apex []byte, v *zone.Zone, deltas ...*zone.Delta) error {
	err := c.Memory.Append(apex, v, deltas...)
	switch {
	case c.fault == "an error is not told":
		return nil
	case c.fault == "an error, and it is there" && err != nil:
		_ = c.Memory.Append(apex, v, deltas...)
	}
	return err
}

func (c *careless) Save(apex []byte, v *zone.Zone, _ ...*zone.Delta) error {
	if c.fault == "it is gone before the next is there" {
		if err := c.Memory.Remove(apex); err != nil {
			return err
		}
	}
	return c.Memory.Save(apex, v)
}

func (c *careless) SetMeta(apex []byte, m store.Meta) error {
	if c.fault == "frozen is forgotten" {
		m.Frozen = false
	}
	return c.Memory.SetMeta(apex, m)
}

func (c *careless) Copy() storetest.Medium {
	return &careless{c.Memory.Copy().(*storetest.Memory), c.fault}
}

func (c *careless) Litter() string {
	if c.fault == "litter" {
		return "zone.new"
	}
	return ""
}

// TestCarelessStores has the suite find what is wrong with stores.
func TestCarelessStores(t *testing.T) {
	for _, fault := range []string{
		"an error is not told", "an error, and it is there", "it is gone before the next is there", "frozen is forgotten", "litter",
	} {
		if err := storetest.Check(func() storetest.Medium { return &careless{storetest.NewMemory(), fault} }); err == nil {
			t.Errorf("not noticed: %s", fault)
		}
	}
}
