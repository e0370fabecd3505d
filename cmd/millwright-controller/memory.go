package main

import (
	"bytes"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"millwright.dev/millwright/render/policy"
)

// Shares of the memory that the kernel gives to this process and its child
// together, in percent. The rest is for what neither collector counts.
const (
	ownShare    = 45
	policyShare = 35
)

// boundMemory keeps the process and the policy process below what the kernel
// would kill them for, by having their collectors work harder before that (row
// K17). A limit of the environment (GOMEMLIMIT) is left as it is. It returns the
// policy process's bound.
func boundMemory(limit int64) int64 {
	if limit <= 0 {
		return policy.DefaultMemoryLimit
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 100 * ownShare)
	}
	return min(limit/100*policyShare, policy.DefaultMemoryLimit)
}

// leastGrowth is how much the heap grows at least between two collections. The collector
// would go through a small one again whenever as much was allocated as it holds, while a
// revision waits for the processors.
const leastGrowth = 96 << 20

// growHeap keeps to that: the collector knows percentages only, so that they are set
// anew after each collection in which the heap has become much larger or smaller. A
// percentage of the environment (GOGC) is left as it is, and a memory limit goes first.
func growHeap() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var rearm func(*[16]byte)
	set := 0
	rearm = func(collected *[16]byte) {
		metrics.Read(live)
		if percent := growth(live[0].Value.Uint64()); percent < set*9/10 || percent > set*11/10 {
			set = percent
			debug.SetGCPercent(percent)
		}
		runtime.SetFinalizer(collected, rearm) // it is called once a collection
	}
	rearm(new([16]byte))
}

// growth is leastGrowth in percent of what is alive, and at least what it is by default.
func growth(live uint64) int {
	const byDefault, most = 100, 2000
	return int(min(max(100*leastGrowth/max(live, 1), byDefault), most))
}

// memoryLimit is the least of the limits that the control groups of this process
// have, of either version; 0 means none. root is where they are mounted.
func memoryLimit(proc, root string) int64 {
	groups, err := os.ReadFile(filepath.Join(proc, "self", "cgroup"))
	if err != nil {
		return 0
	}
	var least int64
	for line := range bytes.Lines(groups) {
		part := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(part) != 3 {
			continue
		}
		for _, kind := range limitFiles(part[1]) {
			// In a container the path may be the one outside, of which only the end is
			// mounted: then the mount itself is the group.
			for at := path.Clean("/" + part[2]); ; at = path.Dir(at) {
				if n := limitIn(filepath.Join(root, kind.mount, at, kind.file)); n > 0 && (least == 0 || n < least) {
					least = n
				}
				if at == "/" {
					break
				}
			}
		}
	}
	return least
}

type limitFile struct{ mount, file string }

// limitFiles are where the limit is, for the controllers of a line of
// /proc/self/cgroup: none means version 2.
func limitFiles(controllers string) []limitFile {
	if controllers == "" {
		return []limitFile{{".", "memory.max"}, {"unified", "memory.max"}}
	}
	if strings.Contains(","+controllers+",", ",memory,") {
		return []limitFile{{"memory", "memory.limit_in_bytes"}}
	}
	return nil
}

// unlimited is from where on the number in a file means that there is no limit.
const unlimited = 1 << 60

func limitIn(file string) int64 {
	data, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n >= unlimited {
		return 0 // "max" among them
	}
	return n
}
