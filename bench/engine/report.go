package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// series are numbers, one for each round, or one for each sample.
type series []float64

func (s series) median() float64 { return s.quantile(0.5) }

func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// spread is the median with the smallest and the largest.
func (s series) spread(format string) string {
	if len(s) == 0 {
		return "–"
	}
	text := fmt.Sprintf(format, s.median())
	if len(s) == 1 {
		return text
	}
	return fmt.Sprintf("%s ("+format+"–"+format+")", text, slices.Min(s), slices.Max(s))
}

func of(costs []cost, what func(cost) float64) series {
	var out series
	for _, c := range costs {
		out = append(out, what(c))
	}
	return out
}

// over divides round by round, so that what disturbed a round hits both.
func (s series) over(o series) series {
	out := make(series, min(len(s), len(o)))
	for i := range out {
		out[i] = s[i] / o[i]
	}
	return out
}

func wall(c cost) float64 { return c.wall }

func count(c cost) float64 { return c.requests.total() }

// report prints everything as a section of Markdown.
func (b *benchmark) report(out io.Writer) {
	fmt.Fprintf(out, "%s, %d cores (%s), Linux %s, %s; kube-apiserver 1.36.3 and etcd 3.6.8 with fsync, one of each for every party; Flux source-controller 1.9.6, kustomize-controller 1.9.5. %d rounds; median (smallest–largest). Load average before and after: %s, %s. The run took %s.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), cpuModel(), kernel(), runtime.Version(), b.rounds, b.load[0], b.load[1], time.Since(b.began).Round(time.Second))
	for _, size := range b.sizes {
		fmt.Fprintf(out, "- %s\n", size)
	}
	for _, w := range []struct{ name, title string }{
		{"W1", "W1: from an empty cluster to everything applied"},
		{"W2", "W2: a look at what has not changed"},
		{"W3", "W3: from the push to the changed Deployment (CPU and requests until the party is done)"},
		{"W4 burst", "W4: Deployments that were changed by hand, all at once, from the last change (CPU and requests with those of the changes)"},
		{"W7 create", "W7: apps, made"},
		{"W7 change", "W7: one commit that changes every app"},
		{"quiet", "Nothing happens"},
	} {
		b.costs(out, w.name, w.title)
	}
	b.latencies(out)
	b.aims(out)
}

func row(out io.Writer, cells ...string) { fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")) }

func (b *benchmark) costs(out io.Writer, workload, title string) {
	parties := b.results[workload]
	if len(parties) == 0 {
		return
	}
	fmt.Fprintf(out, "\n**%s**\n\n", title)
	row(out, "", "wall, s", "wall ÷ ours", "CPU seconds", "CPU ÷ ours", "of it API server, etcd, party", "requests", "peak memory of the party, MiB")
	row(out, strings.Split(strings.Repeat("--- ", 8), " ")[:8]...)
	ours := b.paired(workload, millwright)
	for _, name := range []string{millwright, fluxOne, fluxMany, kubectl, limit} {
		costs := parties[name]
		if len(costs) == 0 {
			continue
		}
		mine := b.paired(workload, name)
		wallRatio, cpuRatio := of(mine, wall).over(of(ours, wall)).spread("%.2f"), of(mine, cost.cpu).over(of(ours, cost.cpu)).spread("%.2f")
		if name == millwright {
			wallRatio, cpuRatio = "1", "1"
		}
		last := costs[len(costs)-1]
		row(out, name, of(costs, wall).spread("%.3f"), wallRatio, of(costs, cost.cpu).spread("%.2f"), cpuRatio,
			fmt.Sprintf("%.2f, %.2f, %.2f", of(costs, func(c cost) float64 { return c.apiserver }).median(), of(costs, func(c cost) float64 { return c.store }).median(), of(costs, func(c cost) float64 { return c.party }).median()),
			fmt.Sprintf("%.1f: %s", of(costs, count).median(), last.requests), of(costs, func(c cost) float64 { return c.peak }).spread("%.0f"))
	}
}

// paired are the costs of a party of which each has a counterpart of every other
// party: where the quick ones did more in a round, the middle of what they did.
func (b *benchmark) paired(workload, name string) []cost {
	rounds := math.MaxInt
	for _, costs := range b.results[workload] {
		rounds = min(rounds, len(costs))
	}
	costs := b.results[workload][name]
	if len(costs) == 0 || len(costs) == rounds {
		return costs
	}
	var out []cost
	per := len(costs) / rounds
	for i := range rounds {
		round := slices.Clone(costs[i*per : (i+1)*per])
		slices.SortFunc(round, func(x, y cost) int {
			if x.wall < y.wall {
				return -1
			}
			return 1
		})
		out = append(out, round[len(round)/2])
	}
	return out
}

// latencies are the single ones.
func (b *benchmark) latencies(out io.Writer) {
	if len(b.samples) == 0 {
		return
	}
	fmt.Fprintf(out, "\n**Single latencies**\n\n")
	row(out, "", "party", "number", "p50, ms", "p99, ms", "largest, ms")
	row(out, "---", "---", "---", "---", "---", "---")
	for _, workload := range slices.Sorted(keys(b.samples)) {
		for _, name := range []string{millwright, fluxOne, kubectl, limit} {
			if s := series(b.samples[workload][name]); len(s) > 0 {
				row(out, workload, name, fmt.Sprint(len(s)), fmt.Sprintf("%.1f", s.median()*1e3), fmt.Sprintf("%.1f", s.quantile(0.99)*1e3), fmt.Sprintf("%.1f", slices.Max(s)*1e3))
			}
		}
	}
}

func kernel() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(data))
}

func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "an unknown processor"
}
