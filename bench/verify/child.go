package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// task is what a child process measures.
type task struct {
	Repository, TrustedRoot, Frontier string
	Anchor                            gitverify.ID
	// Tips are verified one after the other, each with the one before as floor.
	Tips []gitverify.ID
}

// measured is what came of it: seconds for each tip, CPU seconds for all, and
// the most memory that the process ever had.
type measured struct {
	Seconds []float64
	CPU     float64
	PeakMiB float64
	Commits int
}

// measure verifies the tips. The first one's time contains all that a process
// does once: reading the trusted root, opening the repository, and the frontier.
func (t task) measure(ctx context.Context, kind string) (measured, error) {
	var m measured
	before := cpuSeconds()
	begin := time.Now()
	root, err := gitverify.LoadTrustedRootFile(t.TrustedRoot)
	if err != nil {
		return m, err
	}
	options := gitverify.Options{}
	if kind == "frontier" {
		options.FrontierFile, options.FrontierKey = t.Frontier, bytes.Repeat([]byte{1}, 32)
	}
	v, err := gitverify.New(root, options)
	if err != nil {
		return m, err
	}
	store, err := source.OpenLocal(t.Repository)
	if err != nil {
		return m, err
	}
	floor := gitverify.ID("")
	for _, tip := range t.Tips {
		got, err := v.Verify(ctx, store, gitverify.Request{Ref: "refs/heads/main", Candidate: tip, Anchor: t.Anchor, Floor: floor})
		if err != nil {
			return m, err
		}
		m.Seconds = append(m.Seconds, time.Since(begin).Seconds())
		m.Commits += len(got.Checked())
		floor, begin = tip, time.Now()
	}
	m.CPU = cpuSeconds() - before
	m.PeakMiB, err = peak()
	return m, err
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peak is the high-water mark of the process's memory.
func peak() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the system does not say how much memory a process had")
}

// run measures the task in a process of its own.
func (t task) run(ctx context.Context, kind string) (measured, error) {
	self, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	in, err := json.Marshal(t)
	if err != nil {
		return measured{}, err
	}
	cmd := exec.CommandContext(ctx, self, "-child", kind)
	cmd.Stdin = bytes.NewReader(in)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return measured{}, fmt.Errorf("measuring: %w\n%s", err, problems.String())
	}
	var m measured
	return m, json.Unmarshal(out.Bytes(), &m)
}
