package zones

import "runtime"

// Bounds.
const (
	MaxLine     = maxLine
	MaxLinePeer = maxLinePeer

	MaxRefreshes = maxRefreshes
)

// AwaitWaiting returns when so many updates of a zone wait for their turn.
func AwaitWaiting(m *Manager, apex []byte, n int) {
	q := &m.find(apex).updates
	for {
		q.mu.Lock()
		waiting := len(q.waiting)
		q.mu.Unlock()
		if waiting >= n {
			return
		}
		runtime.Gosched()
	}
}

// Release has a zone gone for whoever has found it already.
func Leave(m *Manager, apex []byte) {
	z := m.find(apex)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.gone = true
}

// SetFrozen has updates of a zone refused or taken, without writing or reading its file.
func SetFrozen(m *Manager, apex []byte, frozen bool) error {
	z, err := m.held(apex)
	if err != nil {
		return err
	}
	defer z.release()
	return m.setFrozen(z, frozen)
}
