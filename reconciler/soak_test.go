package reconciler_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
)

// TestPassesWithoutNewsGrowNothing makes passes that find nothing to do: a few
// hundred here, and 100,000 with `make soak`.
func TestPassesWithoutNewsGrowNothing(t *testing.T) { // row K23
	cycles := 100
	if text := os.Getenv("MILLWRIGHT_SOAK"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		cycles = n
	}
	f := newFaulty(t)
	f.setMany("one")
	f.settle(f.commit(alice, "one"))
	cycle := func(n int) {
		for range n {
			if _, err := f.attempt(); err != nil {
				t.Fatal(err)
			}
			f.proxy.Forget()
		}
	}
	writes := len(f.proxy.Writes())
	cycle(max(cycles/10, 20)) // until everything that is kept is there
	before := measure(t)
	cycle(cycles)
	after := measure(t)
	t.Logf("%d passes: before %+v, after %+v", cycles, before, after)
	if after.goroutines > before.goroutines+4 || after.descriptors > before.descriptors+4 {
		t.Errorf("it grows: before %+v, after %+v", before, after)
	}
	// What a pass may leave behind on average; the rest is the collector's mood.
	if grown := int64(after.heap) - int64(before.heap); grown > 3<<20+int64(cycles)*16 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if n := len(f.proxy.Writes()); n != 0 || writes == 0 {
		t.Errorf("%d writes without news", n)
	}
}

type size struct {
	heap                    uint64
	goroutines, descriptors int
}

func measure(t *testing.T) size {
	t.Helper()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	found, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return size{m.HeapAlloc, runtime.NumGoroutine(), len(found)}
}
