package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"millwright.dev/millwright/bench/figures"
)

func of(costs []cost, what func(cost) float64) figures.Series {
	var out figures.Series
	for _, c := range costs {
		out = append(out, what(c))
	}
	return out
}

func wall(c cost) float64 { return c.wall }

func count(c cost) float64 { return c.requests.total() }

// report prints everything as a section of Markdown.
func (b *benchmark) report(out io.Writer) {
	with := ""
	if b.takesPart(argo) {
		with = "; Argo CD 3.5.7"
	}
	fmt.Fprintf(out, "%s, %d cores (%s), Linux %s, %s; kube-apiserver 1.36.3 and etcd 3.6.8 with fsync, one of each for every party; Flux source-controller 1.9.6, kustomize-controller 1.9.5%s. %d rounds; median (smallest–largest). Load average before and after: %s, %s. The run took %s.\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), figures.CPUModel(), figures.Kernel(), runtime.Version(), with, b.rounds, b.load[0], b.load[1], time.Since(b.began).Round(time.Second))
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

func (b *benchmark) costs(out io.Writer, workload, title string) {
	parties := b.results[workload]
	if len(parties) == 0 {
		return
	}
	fmt.Fprintf(out, "\n**%s**\n\n", title)
	figures.Head(out, "", "wall, s", "wall ÷ ours", "CPU seconds", "CPU ÷ ours", "of it API server, etcd, party", "requests", "peak memory of the party, MiB")
	ours := b.paired(workload, millwright)
	for _, name := range []string{millwright, fluxOne, fluxMany, argo, kubectl, limit} {
		costs := parties[name]
		if len(costs) == 0 {
			continue
		}
		mine := b.paired(workload, name)
		wallRatio, cpuRatio := of(mine, wall).Over(of(ours, wall)).Spread("%.2f"), of(mine, cost.cpu).Over(of(ours, cost.cpu)).Spread("%.2f")
		if name == millwright {
			wallRatio, cpuRatio = "1", "1"
		}
		last := costs[len(costs)-1]
		figures.Row(out, name, of(costs, wall).Spread("%.3f"), wallRatio, of(costs, cost.cpu).Spread("%.2f"), cpuRatio,
			fmt.Sprintf("%.2f, %.2f, %.2f", of(costs, func(c cost) float64 { return c.apiserver }).Median(), of(costs, func(c cost) float64 { return c.store }).Median(), of(costs, func(c cost) float64 { return c.party }).Median()),
			fmt.Sprintf("%.1f: %s", of(costs, count).Median(), last.requests), of(costs, func(c cost) float64 { return c.peak }).Spread("%.0f"))
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
	figures.Head(out, "", "party", "number", "p50, ms", "p99, ms", "largest, ms")
	for _, workload := range slices.Sorted(keys(b.samples)) {
		for _, name := range []string{millwright, fluxOne, argo, kubectl, limit} {
			if s := figures.Series(b.samples[workload][name]); len(s) > 0 {
				figures.Row(out, workload, name, fmt.Sprint(len(s)), fmt.Sprintf("%.1f", s.Median()*1e3), fmt.Sprintf("%.1f", s.Quantile(0.99)*1e3), fmt.Sprintf("%.1f", slices.Max(s)*1e3))
			}
		}
	}
}
