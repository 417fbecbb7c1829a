package app

import (
	"bytes"
	"errors"
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"

	"port53/internal/telemetry"
)

// readyError says why the server should not be asked, or nil.
func (a *App) readyError() error {
	if a.ctx.Err() != nil {
		return errors.New("the server is stopping")
	}
	list := a.manager.Status()
	for _, z := range list {
		if z.Serving {
			return a.proofError()
		}
	}
	if len(list) > 0 && a.recursion == nil {
		return errors.New("no zone is served yet")
	}
	return a.proofError()
}

// clockTicks is in how many parts of a second Linux counts processor time for programs.
const clockTicks = 100

// collectProcess writes what Prometheus's own libraries tell of a process and of Go, by the names
// that dashboards know.
func (a *App) collectProcess(w *telemetry.Writer) {
	w.Set("process_start_time_seconds", float64(a.started.UnixMilli())/1000)
	w.Set("go_info", 1, "version", runtime.Version())
	w.Set("go_goroutines", float64(runtime.NumGoroutine()))
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(samples)
	for i, name := range []string{"go_gc_cycles_total", "go_memstats_heap_alloc_bytes", "go_memstats_sys_bytes"} {
		w.Set(name, float64(samples[i].Value.Uint64()))
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		w.Set("process_open_fds", float64(len(fds)-1)) // less the one that lists them
	}
	if text, err := os.ReadFile("/proc/self/limits"); err == nil {
		for line := range bytes.Lines(text) {
			if rest, ok := bytes.CutPrefix(line, []byte("Max open files")); ok {
				limit, err := strconv.ParseFloat(string(bytes.Fields(rest)[0]), 64)
				if err != nil {
					limit = math.Inf(1)
				}
				w.Set("process_max_fds", limit)
			}
		}
	}
	text, err := os.ReadFile("/proc/self/stat")
	end := bytes.LastIndexByte(text, ')') // the program's name may have spaces
	if err != nil || end < 0 {
		return
	}
	const utime, stime, vsize, rss = 11, 12, 20, 21 // proc_pid_stat(5), from the field behind the name
	fields := bytes.Fields(text[end+1:])
	if len(fields) <= rss {
		return
	}
	number := func(i int) float64 {
		v, _ := strconv.ParseFloat(string(fields[i]), 64)
		return v
	}
	w.Set("process_cpu_seconds_total", (number(utime)+number(stime))/clockTicks)
	w.Set("process_virtual_memory_bytes", number(vsize))
	w.Set("process_resident_memory_bytes", number(rss)*float64(os.Getpagesize()))
}
