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
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// task is what a child process measures.
type task struct {
	Export, TrustedRoot, Anchor, Head string
	Render                            bool
}

// measured is what came of it, in seconds, and the most memory that the process
// ever had.
type measured struct {
	Answer               string
	Records              int
	Seconds, CPU, Opened float64
	PeakMiB              float64
	Checks               map[string]float64
}

// measure audits the export, from reading it on.
func (t task) measure(ctx context.Context) (measured, error) {
	dir, err := os.MkdirTemp("", "millwright-bench-child-")
	if err != nil {
		return measured{}, err
	}
	defer os.RemoveAll(dir)
	before, begin := cpuSeconds(), time.Now()
	data, err := os.ReadFile(t.TrustedRoot)
	if err != nil {
		return measured{}, err
	}
	o := audit.Options{
		TrustedRootDigest: attest.Digest(data), Signers: signers(), Anchor: gitverify.ID(t.Anchor), Head: t.Head,
		SkipRender: !t.Render, Release: audittest.Release, Clock: time.Now,
	}
	if o.TrustedRoot, err = attest.ParseTrustedRoot(data); err != nil {
		return measured{}, err
	}
	if o.Commits, err = gitverify.ParseTrustedRoot(data); err != nil {
		return measured{}, err
	}
	file, err := os.Open(t.Export)
	if err != nil {
		return measured{}, err
	}
	defer file.Close()
	e, err := audit.Open(ctx, file, dir)
	if err != nil {
		return measured{}, err
	}
	m := measured{Opened: time.Since(begin).Seconds(), Checks: map[string]float64{}}
	report, err := audit.Run(ctx, e, o)
	if err != nil {
		return m, err
	}
	m.Seconds, m.CPU, m.Answer, m.Records = time.Since(begin).Seconds(), cpuSeconds()-before, string(report.Answer), len(report.Records)
	m.Checks["open"] = m.Opened
	for _, c := range report.Checks {
		m.Checks[c.Name] = c.Seconds
	}
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
func (t task) run(ctx context.Context) (measured, error) {
	self, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	in, err := json.Marshal(t)
	if err != nil {
		return measured{}, err
	}
	cmd := exec.CommandContext(ctx, self, "-child", "audit")
	cmd.Stdin = bytes.NewReader(in)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return measured{}, fmt.Errorf("measuring: %w\n%s", err, problems.String())
	}
	var m measured
	return m, json.Unmarshal(out.Bytes(), &m)
}
